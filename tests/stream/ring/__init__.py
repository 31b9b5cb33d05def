"""Tests of neuroloop.stream.ring."""
