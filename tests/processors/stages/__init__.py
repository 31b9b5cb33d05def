"""Tests of processors/stages."""
