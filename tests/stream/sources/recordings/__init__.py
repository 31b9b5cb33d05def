"""Tests of stream/sources/recordings."""
