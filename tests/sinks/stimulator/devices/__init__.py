"""Tests of the stimulators."""
