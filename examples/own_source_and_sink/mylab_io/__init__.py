"""What a lab has written for itself: a source, a sink of events, a policy."""
