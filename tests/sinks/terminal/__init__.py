"""Tests of sinks/terminal."""
