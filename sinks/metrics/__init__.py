"""Prometheus families, and the server that shows them."""
