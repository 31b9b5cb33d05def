"""The numbers: sequencer, pipeline, and the engine that is both."""
