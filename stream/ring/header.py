"""The words at the start of a ring: where the writer is, who writes, where each reader is.

All words are aligned int64. They are ordered by the x86-64 memory model (TSO): stores become visible in program order,
loads are made in program order, and the interpreter's calls keep the compiler from moving them. The writer stores
`LIMIT` before it overwrites anything and `HEAD` after everything is in place; a reader loads ``HEAD``, copies, then
loads ``LIMIT`` and throws away what was overwritten under its hands. On a weaker model barriers would be needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from neuroloop.stream.ring.segment import Segment

HEAD = 0
"""Position after the last published row (or byte)."""
LIMIT = 1
"""Oldest position that may still be read; lower ones are being or were overwritten."""
NEXT = 2
"""Sample index (or sequence number) that the next row (or record) will have; stored before `HEAD`."""
STATE = 8
WRITER = 9
_SLOTS = 16
_SLOT_WORDS = 16
_PID, _START, _ACTIVE, _PLACES = 0, 1, 2, 3

NO_WRITER_YET, OPEN, CLOSED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is; ``n_delivered + n_lost`` counts all rows (or records) before ``position``."""

    position: int = 0
    n_delivered: int = 0
    n_lost: int = 0


@dataclass(frozen=True, slots=True)
class ReaderStatus:
    """One reader as others see it: what it has committed, how far it is behind, whether its process lives."""

    n_behind: int
    n_delivered: int
    n_lost: int
    is_alive: bool


def header_size(n_readers: int) -> int:
    """Return the bytes that a header with this many readers takes (a multiple of 64)."""
    return 8 * (_SLOTS + _SLOT_WORDS * n_readers)


def check_readers(readers: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the readers.

    Raises
    ------
    ValueError
        If a name comes twice.
    """
    names = tuple(readers)
    if len(set(names)) != len(names):
        raise ValueError(f"readers must be distinct names, got {list(names)!r}")
    return names


def process_start(pid: int) -> int:
    """Return when a process started (clock ticks since boot); 0 if it is gone or only waits to be reaped.

    Process number and start together name a process for good: the number alone is used again.
    """
    if sys.platform != "linux":
        return int(pid == os.getpid())
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


class RingHeader:
    """The words of one ring.

    Parameters
    ----------
    segment : Segment
        Its first `header_size` bytes are the header.
    readers : tuple of str
        One slot per name, fixed when the ring is made: two readers never fight for a slot.
    """

    def __init__(self, segment: Segment, readers: tuple[str, ...]) -> None:
        self.words = segment.words(0, header_size(len(readers)) // 8)
        self.readers = readers

    def slot(self, reader: str) -> int:
        """Return the first word of a reader's slot.

        Raises
        ------
        ValueError
            If the ring was made without this reader.
        """
        if reader not in self.readers:
            raise ValueError(f"reader must be one of {list(self.readers)!r}, got {reader!r}")
        return _SLOTS + _SLOT_WORDS * self.readers.index(reader)

    def claim(self, word: int, role: str) -> None:
        """Write this process into ``words[word:word + 2]``.

        Two processes that claim within the same microseconds are not told apart; the supervisor starts one per role.

        Raises
        ------
        RuntimeError
            If a living process (this one included) holds the role.
        """
        if self.is_held(word):
            raise RuntimeError(f"{role} must be free, got process {self.words[word]}")
        self.words[word] = 0
        self.words[word + 1] = process_start(os.getpid())
        self.words[word] = os.getpid()

    def release(self, word: int) -> None:
        """Take this process out of ``words[word:word + 2]``."""
        self.words[word] = 0

    def is_held(self, word: int) -> bool:
        """Return whether the process in ``words[word:word + 2]`` lives (20 us)."""
        pid = self.words[word]
        return pid != 0 and process_start(pid) == self.words[word + 1]

    def is_writer_gone(self) -> bool:
        """Return whether a writer was here and closed the ring or died."""
        state = self.words[STATE]
        return state == CLOSED or (state == OPEN and not self.is_held(WRITER))

    def load(self, slot: int) -> Place:
        """Return the place that a reader has committed."""
        first = slot + _PLACES + 3 * self.words[slot + _ACTIVE]
        return Place(*self.words[first : first + 3])

    def store(self, slot: int, place: Place) -> None:
        """Commit a place: into the copy that is not in use, which then becomes the one in use by a single store."""
        other = 1 - self.words[slot + _ACTIVE]
        first = slot + _PLACES + 3 * other
        self.words[first] = place.position
        self.words[first + 1] = place.n_delivered
        self.words[first + 2] = place.n_lost
        self.words[slot + _ACTIVE] = other

    def status(self, reader: str, n_written: int) -> ReaderStatus:
        """Return one reader's books, given how many rows (or records) were written."""
        slot = self.slot(reader)
        place = self.load(slot)
        return ReaderStatus(
            max(0, n_written - place.n_delivered - place.n_lost),
            place.n_delivered,
            place.n_lost,
            self.is_held(slot + _PID),
        )
