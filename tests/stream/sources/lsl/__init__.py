"""Tests of stream/sources/lsl."""
