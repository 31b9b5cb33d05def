"""The stimulation gate, its log and ledger, and the devices behind it."""
