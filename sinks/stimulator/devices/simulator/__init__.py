"""The simulated stimulator: a process with a clock, limits and a record of its own."""
