"""Samples from Kafka: one stream of a topic, each row once and in order."""
