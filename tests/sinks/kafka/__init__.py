"""Tests of neuroloop.sinks.kafka."""
