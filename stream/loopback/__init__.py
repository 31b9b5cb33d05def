"""Closing the loop on this machine to measure it: a signal of known onsets, a sender, what came of each onset."""
