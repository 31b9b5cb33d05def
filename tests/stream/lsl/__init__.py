"""Tests of neuroloop.stream.sources.lsl."""
