"""The files of deploy/, without containers."""
