"""Tests of stream/tools."""
