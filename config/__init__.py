"""Typed settings, the checks on them, and the presets."""
