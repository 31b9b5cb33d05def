"""Tests; mirrors the folders."""
