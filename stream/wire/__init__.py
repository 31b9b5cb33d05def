"""What travels on Kafka, and how brokers are reached."""
