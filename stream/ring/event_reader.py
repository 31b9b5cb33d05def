"""A reader's end of the event ring: records copied out, torn ones never, lost ones counted."""

from __future__ import annotations

import struct
from types import TracebackType

from neuroloop.stream.contracts.shared_memory import EventRecords
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.cursor import Cursor
from neuroloop.stream.ring.header import HEAD, LIMIT, NEXT, Place, RingHeader

GRAIN = 16
"""Records begin at multiples of this many bytes, so that their two numbers never wrap."""
_STEP_BYTES = 1 << 16
"""Bytes copied at a time."""


def room(n_bytes: int) -> int:
    """Return what a record of this length takes in the arena."""
    return GRAIN + -(-n_bytes // GRAIN) * GRAIN


class EventRingReader:
    """Take records out of a `neuroloop.stream.ring.events.EventRing`, in order.

    Parameters
    ----------
    header : RingHeader
    arena : memoryview
    name : str
        One of the ring's readers.
    bell : Bell or None
    """

    def __init__(self, header: RingHeader, arena: memoryview, name: str, bell: Bell | None) -> None:
        self._header = header
        self._arena = arena
        self._size = len(arena)
        self._cursor = Cursor(header, name, bell)

    @property
    def n_lost(self) -> int:
        """Records lost so far, by this reader and those of its name before a restart."""
        return self._cursor.place.n_lost

    @property
    def n_delivered(self) -> int:
        """Records read so far; with `n_lost` and what is still to be read they are all that was written."""
        return self._cursor.place.n_delivered

    @property
    def is_ended(self) -> bool:
        """Whether everything was read and the writer is gone, closed or dead."""
        return self._cursor.is_ended()

    def read(self, max_records: int) -> EventRecords:
        """Take at most ``max_records`` records, without waiting.

        Raises
        ------
        ValueError
            If ``max_records`` is below 1.
        """
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, got {max_records!r}")
        place, words = self._cursor.place, self._header.words
        expected = place.n_delivered + place.n_lost
        head = words[HEAD]
        position = max(place.position, words[LIMIT])
        if position >= head:
            if head == place.position:
                return EventRecords([], expected, 0)
            return self._nothing(expected)
        n_bytes = min(head - position, _STEP_BYTES)
        copied = self._copy(position, n_bytes)
        if len(copied) >= GRAIN:  # a record longer than a step
            n_bytes = max(n_bytes, GRAIN + struct.unpack_from("=q", copied, 8)[0])
        if n_bytes > len(copied) and words[LIMIT] <= position:
            copied = self._copy(position, n_bytes)
        intact = max(position, words[LIMIT])  # the start of a record; what lies before it may be torn
        at = intact - position
        records: list[bytes] = []
        first = expected
        while len(records) < max_records and at + GRAIN <= len(copied):
            sequence, length = struct.unpack_from("=qq", copied, at)
            if at + GRAIN + length > len(copied):
                break
            if not records:
                first = sequence
            records.append(copied[at + GRAIN : at + GRAIN + length])
            at += room(length)
        if not records:
            return EventRecords([], expected, 0)
        self._cursor.advance(position + at, len(records), first - expected)
        return EventRecords(records, first, first - expected)

    def _nothing(self, expected: int) -> EventRecords:
        """Say that there is no record; count what a writer that died in the middle of one took with it."""
        words, n_lost = self._header.words, 0
        if self._header.is_writer_gone() and words[LIMIT] >= words[HEAD] > self._cursor.place.position:
            n_lost = words[NEXT] - expected
            self._cursor.advance(words[HEAD], 0, n_lost)
        return EventRecords([], expected + n_lost, n_lost)

    def _copy(self, position: int, n_bytes: int) -> bytes:
        """Copy bytes of the arena, around its end."""
        begin = position % self._size
        end = begin + n_bytes
        if end <= self._size:
            return bytes(self._arena[begin:end])
        return bytes(self._arena[begin:]) + bytes(self._arena[: end - self._size])

    @property
    def place(self) -> Place:
        """Where the next record will be read; may be given to `commit` later."""
        return self._cursor.place

    def commit(self, place: Place | None = None) -> None:
        """Say that all records read so far, or up to an earlier place, are dealt with; a restart goes on from there."""
        self._cursor.commit(place)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there are records, the writer is gone or the time is over; say whether there are records.

        May return early, with False, when the writer has rung for another of its rings.

        Raises
        ------
        RuntimeError
            If the ring has no bell.
        """
        return self._cursor.wait(timeout_s)

    def close(self) -> None:
        """Free the name; what was committed stays in the ring. May be called twice."""
        self._cursor.close()

    def __enter__(self) -> EventRingReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
