"""Tests of neuroloop.stream.live."""
