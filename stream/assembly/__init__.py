"""From the configuration to a pipeline, its plan and its provenance."""
