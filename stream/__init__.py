"""How samples come, are held and composed, and the programs on top."""
