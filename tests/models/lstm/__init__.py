"""Tests of models/lstm."""
