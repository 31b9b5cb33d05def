"""The event ring: records of any length, numbered, for readers in other processes.

A record lies as two int64 (sequence number, length) and its bytes, padded to 16, in an arena that wraps. Before the
writer overwrites old records it moves ``LIMIT`` past them, always to the start of a record: a reader that was lapped
goes on there and learns from the sequence number how many it lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.event_reader import GRAIN, EventRingReader, room
from neuroloop.stream.ring.header import (
    CLOSED,
    HEAD,
    LIMIT,
    NEXT,
    OPEN,
    STATE,
    WRITER,
    ReaderStatus,
    RingHeader,
    check_readers,
    header_size,
)
from neuroloop.stream.ring.segment import Segment


class EventRing:
    """A ring of records; make it with `private` or `shared`.

    A ring may be an argument of a spawned ``Process``: the child gets the same memory, its readers and its bell.

    Parameters
    ----------
    segment : Segment
        Header and arena, zeroed before the first use.
    capacity_bytes : int
        Length of the arena, a multiple of `GRAIN`.
    readers : tuple of str
        Names of all readers that will ever be.
    bell : Bell or None
    """

    def __init__(self, segment: Segment, capacity_bytes: int, readers: tuple[str, ...], bell: Bell | None) -> None:
        self.capacity_bytes = capacity_bytes
        self.readers = readers
        self.bell = bell
        self.header = RingHeader(segment, readers)
        self.arena = segment.octets(header_size(len(readers)), capacity_bytes)
        self._segment = segment
        self._ends: list[EventWriter | EventRingReader] = []

    @classmethod
    def private(cls, capacity_bytes: int, *, readers: Iterable[str] = (), bell: Bell | None = None) -> EventRing:
        """Make a ring in this process's own memory.

        Raises
        ------
        ValueError
            If no record would fit or a reader's name comes twice.
        """
        names, size = check_readers(readers), _arena_size(capacity_bytes)
        return cls(Segment.private(header_size(len(names)) + size), size, names, bell)

    @classmethod
    def shared(cls, capacity_bytes: int, *, bell: Bell, readers: Iterable[str], name: str = "events") -> EventRing:
        """Make a ring that spawned processes can be handed (Linux).

        Parameters
        ----------
        capacity_bytes : int
            Rounded up to a multiple of `GRAIN`; each record takes its length and at most 31 bytes more.
        bell : Bell
            Rung by the writer; it may serve several rings, and whoever made it closes it.
        readers : iterable of str
        name : str
            Appears in ``/proc/<pid>/maps``.

        Raises
        ------
        ValueError
            If no record would fit or a reader's name comes twice.
        SharedMemoryError
            If the memory is not there.
        """
        names, size = check_readers(readers), _arena_size(capacity_bytes)
        return cls(Segment.shared(header_size(len(names)) + size, name), size, names, bell)

    def __reduce__(self) -> tuple[Any, ...]:
        return EventRing, (self._segment, self.capacity_bytes, self.readers, self.bell)

    def writer(self) -> EventWriter:
        """Become the writer; a new writer goes on where a dead one stopped.

        Raises
        ------
        RuntimeError
            If a living process writes.
        """
        writer = EventWriter(self)
        self._ends.append(writer)
        return writer

    def reader(self, name: str) -> EventRingReader:
        """Become the reader of this name; it begins at what the last one committed, or at the first record.

        Raises
        ------
        ValueError
            If the ring was made without this reader.
        RuntimeError
            If a living process reads under this name.
        """
        reader = EventRingReader(self.header, self.arena, name, self.bell)
        self._ends.append(reader)
        return reader

    def status(self) -> dict[str, ReaderStatus]:
        """Return the books of every reader by name, in records."""
        n_written = self.header.words[NEXT]
        return {name: self.header.status(name, n_written) for name in self.readers}

    def close(self) -> None:
        """Close its writer and readers here, and give the memory back."""
        for end in self._ends:
            end.close()
        self._ends.clear()
        self._segment.close()

    def __enter__(self) -> EventRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _arena_size(capacity_bytes: int) -> int:
    """Round up to whole grains."""
    if capacity_bytes < 2 * GRAIN:
        raise ValueError(f"capacity_bytes must be at least {2 * GRAIN}, got {capacity_bytes!r}")
    return -(-capacity_bytes // GRAIN) * GRAIN


class EventWriter:
    """The writer's end of an event ring."""

    def __init__(self, ring: EventRing) -> None:
        ring.header.claim(WRITER, "writer")
        self._header = ring.header
        self._words = ring.header.words
        self._arena = ring.arena
        self._bell = ring.bell
        self._size = ring.capacity_bytes
        self._max_record = self._size - GRAIN
        self._head = self._words[HEAD]
        self._tail = self._words[LIMIT]
        self._sequence = self._words[NEXT]
        self._is_open = True
        self._words[STATE] = OPEN
        self.notify()  # sleeping readers begin to watch this process

    def append(self, record: bytes) -> int:
        """Copy a record in and return its sequence number; the oldest ones make room.

        Does not wake anybody: see `notify`.

        Raises
        ------
        ValueError
            If the record is longer than the whole ring.
        """
        length = len(record)
        if length > self._max_record:
            raise ValueError(f"record must have at most {self._max_record} bytes, got {length!r}")
        size, arena, words = self._size, self._arena, self._words
        head = self._head
        end = head + room(length)
        if end - self._tail > size:
            tail = self._tail
            while end - tail > size:
                tail += room(struct.unpack_from("=q", arena, tail % size + 8)[0])
            self._tail = tail
            words[LIMIT] = tail  # before the first store that overwrites
        at = head % size
        struct.pack_into("=qq", arena, at, self._sequence, length)
        at += GRAIN
        if at + length <= size:
            arena[at : at + length] = record
        else:
            cut = size - at
            arena[at:size] = record[:cut]
            arena[: length - cut] = record[cut:]
        sequence = self._sequence
        self._sequence = sequence + 1
        self._head = end
        words[NEXT] = sequence + 1
        words[HEAD] = end  # after the last store of the record
        return sequence

    def notify(self) -> None:
        """Wake all readers that listen to the ring's bell; never blocks."""
        if self._bell is not None:
            self._bell.notify()

    def close(self) -> None:
        """Tell the readers that nothing more will come; may be called twice."""
        if self._is_open:
            self._is_open = False
            self._words[STATE] = CLOSED
            self._header.release(WRITER)
            self.notify()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
