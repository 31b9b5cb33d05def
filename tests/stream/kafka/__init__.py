"""Tests of neuroloop.stream.sources.kafka."""
