"""Tests of neuroloop.stream.contracts."""
