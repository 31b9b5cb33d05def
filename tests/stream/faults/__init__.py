"""Tests of injected faults."""
