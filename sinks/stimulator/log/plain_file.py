"""Reading files of a run that somebody else may have put there: a pipe or a device is refused, not waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_plain(path: Path) -> bytes:
    """Return what a file holds.

    Raises
    ------
    OSError
        If it cannot be read, or is no plain file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is no plain file")
        return file.read()


def reason_of(error: OSError) -> str:
    """Say in a few words why a file could not be read."""
    return error.strerror or type(error).__name__
