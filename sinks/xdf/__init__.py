"""Recording into XDF."""
