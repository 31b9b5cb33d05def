"""Tests of processors/filters."""
