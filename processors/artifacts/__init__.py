"""Marks of bad samples and bad channels."""
