"""What a stimulator may be asked for: charge, limits, profiles, verdicts."""
