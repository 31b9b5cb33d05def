"""Tests of sinks/stimulator/devices/simulator."""
