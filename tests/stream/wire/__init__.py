"""Tests of stream/wire."""
