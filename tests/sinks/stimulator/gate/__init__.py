"""Tests of sinks/stimulator/gate."""
