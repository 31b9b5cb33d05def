"""Arithmetic of our own that is the same on every CPU: elementary functions, SIMD lanes."""
