"""The stop file: output off as long as it exists."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from pathlib import Path

_IN_CLOEXEC, _IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_IN_CREATE, _IN_MOVED_TO, _IN_ATTRIB = 0x100, 0x80, 0x4
_EVENT_BYTES = struct.calcsize("iIII") + 256


class StopFile:
    """Watch for a file.

    The kernel says within a millisecond that it was made (inotify, on file systems of this machine). Where it does not
    say so, as on network file systems, the loop looks in every turn: at the latest half a heartbeat later, and the
    time that the file system itself takes to show the file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)
        self._fd = -1
        library = ctypes.CDLL(None, use_errno=True)
        fd = int(library.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK))
        if fd < 0:
            return
        parent = os.fsencode(path.parent)
        if int(library.inotify_add_watch(fd, parent, _IN_CREATE | _IN_MOVED_TO | _IN_ATTRIB)) < 0:
            os.close(fd)
            return
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor that is readable when something appeared beside the file, -1 where there is none."""
        return self._fd

    def exists(self) -> bool:
        """Look (2 us)."""
        if self._fd >= 0:
            with suppress(BlockingIOError):
                while os.read(self._fd, 16 * _EVENT_BYTES):
                    pass
        return os.path.lexists(self._path)

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
