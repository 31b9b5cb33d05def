"""Tests of stream/sources."""
