"""Drift monitors: rolling mean and standard deviation of a tap against a frozen baseline."""
