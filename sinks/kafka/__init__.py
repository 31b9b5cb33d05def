"""Kafka: events, samples and dead letters on their topics; what waits, and what is lost, is counted."""
