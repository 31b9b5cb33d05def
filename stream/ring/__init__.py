"""Ring buffers: one writer, many readers, in private memory or shared between spawned processes."""
