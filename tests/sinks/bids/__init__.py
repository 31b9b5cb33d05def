"""Tests of sinks/bids."""
