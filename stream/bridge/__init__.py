"""Between Lab Streaming Layer and Kafka: the same rows, the same stamps, the same markers, on the other side."""
