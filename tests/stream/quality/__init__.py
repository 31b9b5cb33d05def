"""Tests of stream/quality."""
