"""Tests of the drift monitors."""
