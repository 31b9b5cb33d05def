"""Tests of sinks/metrics."""
