"""Tests of processors/features."""
