"""Which channels go on, and against what they are measured."""
