"""What all stages share: their window grid, the guard of their input, the registry."""
