"""Tests of processors/numerics."""
