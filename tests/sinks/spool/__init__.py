"""Tests of neuroloop.sinks.spool."""
