"""Files that must stay as they were when a run began: looked at every second, hashed when they changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_GONE = "gone"


class FileWatch:
    """Tell whether any of a few files has changed.

    Parameters
    ----------
    paths : iterable of Path
    sha256 : str, optional
        What `now` says as long as nothing has changed; otherwise the hash of the only file.

    Raises
    ------
    OSError
        If one cannot be read.
    """

    def __init__(self, paths: Iterable[Path], sha256: str | None = None) -> None:
        self._files = {path: (_look(path), _hash(path)) for path in paths}
        self._unchanged = sha256 or next(iter(self._files.values()))[1]
        self._now = self._unchanged
        self.changed: Path | None = None
        """The first file that is not what it was."""

    @property
    def now(self) -> str:
        """The hash that was given, or that of the first file that has another content now."""
        return self._now

    def look(self) -> None:
        """Look at all files (3 us each while they are untouched)."""
        self.changed, self._now = None, self._unchanged
        for path, (seen, sha256) in self._files.items():
            if _look(path) == seen:
                continue
            try:
                found = _hash(path)
            except OSError:
                found = hashlib.sha256(_GONE.encode()).hexdigest()
            if found == sha256:
                self._files[path] = (_look(path), sha256)
            elif self.changed is None:
                self.changed, self._now = path, found


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
