"""Tests of stream/tools/doctor."""
