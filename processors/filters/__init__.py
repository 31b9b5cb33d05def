"""Infinite impulse response filters as second-order sections: their design and their kernel."""
