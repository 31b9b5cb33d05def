"""The stimulator process of a run, and the supervisor's side of it."""
