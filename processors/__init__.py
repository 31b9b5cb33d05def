"""Numeric stages and their kernels."""
