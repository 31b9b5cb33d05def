"""Stimulators behind one small protocol."""
