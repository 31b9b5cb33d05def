"""Tests of stream/tools/latency."""
