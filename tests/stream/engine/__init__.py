"""Tests of stream/engine."""
