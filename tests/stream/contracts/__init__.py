"""Tests of stream.contracts."""
