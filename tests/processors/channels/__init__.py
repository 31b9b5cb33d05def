"""Tests of processors/channels."""
