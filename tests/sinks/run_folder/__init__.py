"""Tests of sinks/xdf."""
