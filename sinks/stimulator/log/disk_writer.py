"""Appending to files from a thread of its own, on the disk on demand, so that the one who decides never waits.

The loop hands over finished lines and goes on; it asks with `DiskWriter.sync` for a ticket and learns through a
descriptor when all that was handed over before lies on the disk. Writing and ``fsync`` run outside the interpreter
lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LAG_S = 1.0
"""What nobody waits for is put on the disk at the latest so long after it was handed over."""


class AppendFile:
    """A file that only grows, held open, whose every write checks that it is still the one that its name means.

    Parameters
    ----------
    path : Path
        Made with mode 0600 if it is not there.
    n_bytes : int, optional
        Cut to this length at once: what lies behind is a torn line.
    leads : bool
        If it fails, a writer writes nothing more into any file: what others say of it would be wrong.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: Path, n_bytes: int | None = None, *, leads: bool = False) -> None:
        self.path = path
        self.leads = leads
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if n_bytes is not None:
            os.ftruncate(self._fd, n_bytes)
        self._size = os.fstat(self._fd).st_size
        self.failure: str | None = None
        """Why nothing is written any more; for good."""

    def write(self, data: bytes) -> None:
        """Append; after a failure nothing more is ever written, a half-written line is taken back.

        Failures are kept in ``failure``, nothing is raised.
        """
        if self.failure is not None:
            return
        self.failure = self._replaced()
        if self.failure is not None:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self.failure = str(error.strerror)
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            return
        self._size += len(data)

    def sync(self) -> None:
        """Put on the disk what was written."""
        if self.failure is not None:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            self.failure = str(error.strerror)

    def check(self) -> None:
        """Look whether the name still means this file."""
        if self.failure is None:
            self.failure = self._replaced()

    def _replaced(self) -> str | None:
        """Return what somebody did to the file."""
        try:
            own = os.fstat(self._fd)
            if own.st_nlink == 0:
                return "the file was removed"
            named = os.stat(self.path)
        except OSError as error:
            return f"the file is gone ({error.strerror})"
        if (named.st_dev, named.st_ino) != (own.st_dev, own.st_ino):
            return "the file was replaced"
        if own.st_size != self._size:
            return f"somebody else wrote into the file, it has {own.st_size} bytes in place of {self._size}"
        return None

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.failure = self.failure or "the file is closed"


class _Item(NamedTuple):
    """Lines for a file, or a ticket."""

    file: AppendFile | None
    data: bytes
    ticket: int = 0


class DiskWriter:
    """Write what it is handed, in that order, from a thread.

    Parameters
    ----------
    on_done : callable
        Called from the thread when a ticket is done or a file has failed; must not wait.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, on_done: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_done = on_done
        self._clock = clock
        self._work: deque[_Item] = deque()
        self._wake = threading.Condition()
        self._n_tickets = 0
        self._is_closing = False
        self._dirty: dict[AppendFile, None] = {}
        self._dirty_since = 0.0
        self._is_led_astray = False
        self.done = 0
        """The highest ticket before which all lies on the disk."""
        self.failures: dict[Path, str] = {}
        """Files that take nothing more, and why."""
        self._thread = threading.Thread(target=self._run, name="neuroloop-disk-writer", daemon=True)
        self._thread.start()

    def append(self, file: AppendFile, data: bytes) -> None:
        """Hand over whole lines; never waits."""
        with self._wake:
            self._work.append(_Item(file, data))
            self._wake.notify()

    def sync(self) -> int:
        """Ask for everything handed over so far to be put on the disk; return the ticket, never waits."""
        with self._wake:
            self._n_tickets += 1
            self._work.append(_Item(None, b"", self._n_tickets))
            self._wake.notify()
            return self._n_tickets

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what is left and end the thread; say whether it was done in time."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Be the thread."""
        while True:
            with self._wake:
                while not self._work and not self._is_closing and self._lag_s() > 0:
                    self._wake.wait(self._lag_s())
                work, self._work = self._work, deque()
                is_closing = self._is_closing
            self._do(work)
            if is_closing or self._lag_s() <= 0:
                self._put_on_disk()
            if is_closing and not self._work:
                return

    def _lag_s(self) -> float:
        """Return how long what is written may stay off the disk."""
        return _LAG_S - (self._clock() - self._dirty_since) if self._dirty else _LAG_S

    def _do(self, work: deque[_Item]) -> None:
        """Write; neighbouring lines of one file go out together."""
        while work:
            file, data, ticket = work.popleft()
            if file is None:
                self._put_on_disk()
                if not self.failures:
                    self.done = ticket
                    self._on_done()
                continue
            if self._is_led_astray:
                continue
            parts = [data]
            while work and work[0].file is file:
                parts.append(work.popleft().data)
            for other in list(self._dirty):
                if other is not file:  # one file after the other: a line never lies there before what it follows from
                    self._sync(other)
            if not self._dirty:
                self._dirty_since = self._clock()
            file.write(b"".join(parts))
            self._dirty[file] = None
            self._note(file)

    def _put_on_disk(self) -> None:
        for file in list(self._dirty):
            self._sync(file)

    def _sync(self, file: AppendFile) -> None:
        file.sync()
        del self._dirty[file]
        self._note(file)

    def _note(self, file: AppendFile) -> None:
        if file.failure is not None and file.path not in self.failures:
            self.failures[file.path] = file.failure
            self._is_led_astray = self._is_led_astray or file.leads
            self._on_done()
