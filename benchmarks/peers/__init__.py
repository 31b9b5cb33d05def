"""Other programs that read LSL, each in an environment of its own."""
