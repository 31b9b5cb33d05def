"""Tests of stream/bridge."""
