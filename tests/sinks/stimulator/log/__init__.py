"""Tests of sinks/stimulator/log."""
