"""A live run: the supervisor and its processes."""
