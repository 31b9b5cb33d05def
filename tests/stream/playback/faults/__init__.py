"""Tests of stream/playback/faults."""
