"""Export of events as BIDS."""
