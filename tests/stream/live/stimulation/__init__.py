"""Tests of stream/live/stimulation."""
