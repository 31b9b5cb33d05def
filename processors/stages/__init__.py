"""What all stages share: the two bases, the window grid, the guard of their input, the registry."""
