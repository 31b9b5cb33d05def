"""How long the closed loop takes, measured from sample to stimulator."""
