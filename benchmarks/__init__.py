"""Speed figures, always as ratios taken in one run."""
