"""The Kafka worker: one pipeline per stream, snapshots, and events that are the same whatever is killed."""
