"""Tests of sinks.kafka."""
