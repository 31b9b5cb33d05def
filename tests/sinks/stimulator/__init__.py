"""Tests of the stimulation gate, its log and ledger, and the devices."""
