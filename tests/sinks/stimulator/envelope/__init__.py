"""Tests of sinks/stimulator/envelope."""
