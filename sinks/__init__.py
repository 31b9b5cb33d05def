"""Where events and signals go."""
