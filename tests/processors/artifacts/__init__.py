"""Tests of processors/artifacts."""
