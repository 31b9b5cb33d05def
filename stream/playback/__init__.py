"""Recordings and the simulator as senders."""
