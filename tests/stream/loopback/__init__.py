"""Tests of the closed-loop measurement."""
