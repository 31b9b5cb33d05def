"""Tests of stream/playback."""
