"""What waits for its receiver: in memory or on the disk, in order, bounded by a named policy."""
