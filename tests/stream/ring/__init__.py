"""Tests of stream.ring."""
