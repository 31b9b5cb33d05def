"""The stimulator process of a live run."""
