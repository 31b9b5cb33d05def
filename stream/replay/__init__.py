"""A recording through the same engine."""
