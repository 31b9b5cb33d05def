"""Tests of the Kafka worker, without brokers."""
