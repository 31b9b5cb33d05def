"""Tests of stream/assembly."""
