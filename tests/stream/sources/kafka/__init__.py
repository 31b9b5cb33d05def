"""Tests of stream/sources/kafka."""
