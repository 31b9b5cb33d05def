"""Tests of stream/live."""
