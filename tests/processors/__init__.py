"""Tests of processors."""
