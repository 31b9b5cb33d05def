"""Tests of stream.runner."""
