"""Faults on demand, and the truth about them."""
