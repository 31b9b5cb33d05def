"""What is wrong with this machine for live work, one group of findings per module."""
