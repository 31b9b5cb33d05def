"""How good a stream is."""
