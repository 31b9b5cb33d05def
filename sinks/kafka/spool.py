"""What waits for the brokers, on disk: it survives the death of the process, and is sent in order when they are back.

A folder of segment files ``<number>.spool``, each a run of records: length and CRC-32 of the body (two unsigned 32-bit
numbers, little endian), then the body. ``cursor.json`` says up to where everything has arrived; a segment that has
arrived as a whole is deleted. A record is handed to the operating system before `Spool.put` returns; once a second it
is forced to the disk. After a crash the newest messages may be sent twice, none is missing; a torn last record is cut
off and counted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sinks.kafka.segments import MAX_RECORD_BYTES, Segment, append, as_record, record_at, unpack
from sinks.kafka.waiting import Dropped, tell_nobody
from stream.contracts.errors import ConfigError
from stream.contracts.messages import Message

_log = logging.getLogger("neuroloop.kafka")
_SEGMENT_BYTES = 8 << 20
_MIN_SEGMENTS = 8
_SYNC_S = 1.0
_CURSOR_S = 0.2
_GONE = -1
"""End of a record whose segment was dropped while it was on its way."""


@dataclass(frozen=True)
class _Place:
    """Begin and end of a record."""

    segment: int
    begin: int
    end: int


class Spool:
    """Waiting messages in files; implements `sinks.kafka.waiting.Waiting`.

    Parameters
    ----------
    folder : Path
        Made where it is missing. What an earlier process left there is sent first.
    max_bytes : int
        How much may wait.
    policy : {"drop_oldest", "drop_newest"}
        What is dropped for want of room: the oldest segment, or the message that comes.
    on_dropped : callable
        Told of each message that is lost, as far as it can still be read.
    clock : callable
        Seconds, for what is due now and then.

    Raises
    ------
    ConfigError
        If the folder cannot be used, or another process uses it.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        policy: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        *,
        on_dropped: Dropped = tell_nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_dropped = on_dropped
        self.dropped: Counter[str] = Counter()
        """Messages, by reason; of a record that is torn or damaged nobody knows more than that it was there."""
        self.n_cut_bytes = 0
        """Bytes of torn or damaged records that were cut off when the folder was opened."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(4096, min(_SEGMENT_BYTES, max_bytes // _MIN_SEGMENTS))
        self._policy = policy
        self._clock = clock
        self._guard = threading.RLock()
        self._segments: dict[int, Segment] = {}
        self._on_way: dict[int, _Place] = {}
        self._next = 0
        self._dirty: set[int] = set()
        self._synced_at = self._kept_at = clock()
        self._error: OSError | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"kafka.spool_dir must be a folder to write in, got {str(folder)!r}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            rule = "kafka.spool_dir must be used by one process at a time"
            raise ConfigError(f"{rule}, got {str(folder)!r}, which another one uses") from error
        self._read_segment, self._read_at = self._open_segments()
        self._n_unread = self._count_unread()
        self._kept = (self._read_segment, self._read_at)

    @property
    def n_waiting(self) -> int:
        """Messages that have not arrived."""
        with self._guard:
            return self._n_unread + len(self._on_way)

    @property
    def n_bytes(self) -> int:
        """What the segments take on the disk, in bytes."""
        with self._guard:
            return sum(segment.size for segment in self._segments.values())

    def put(self, message: Message) -> None:
        """Append a message; what the disk does not take, or what has no room, is dropped and counted."""
        record = as_record(message)
        with self._guard:
            try:
                if not self._make_room(len(record)):
                    self.dropped["spool full"] += 1
                    self._on_dropped(message, "spool full")
                    return
                segment = self._segment_for(len(record))
                append(segment, record)
            except OSError as error:
                self._say(error)
                self.dropped["disk"] += 1
                self._on_dropped(message, "disk")
                return
            self._error = None
            segment.n_records += 1
            self._n_unread += 1
            self._dirty.add(segment.number)

    def take(self) -> tuple[int, Message] | None:
        """Return the next message that is not on its way, and its number; None if there is none."""
        with self._guard:
            while self._segments:
                segment = self._segments.get(self._read_segment)
                if segment is not None and self._read_at < segment.size:
                    taken = self._read(segment)
                    if taken is not None:
                        return taken
                    continue
                later = [number for number in self._segments if number > self._read_segment]
                if not later:
                    return None
                self._read_segment, self._read_at = min(later), 0
            return None

    def put_back(self, number: int) -> None:
        """Let the message that was taken last be the next again."""
        with self._guard:
            place = self._on_way.pop(number)
            self._read_segment, self._read_at = place.segment, place.begin
            self._n_unread += 1

    def done(self, number: int) -> None:
        """Forget a message: it has arrived, or never will."""
        with self._guard:
            self._on_way.pop(number, None)

    def rewind(self) -> int:
        """Let everything from the first message on its way on be taken again; return how many were on their way."""
        with self._guard:
            if not self._on_way:
                return 0
            n_gone = sum(place.end == _GONE for place in self._on_way.values())
            if n_gone:
                self.dropped["spool full"] += n_gone
            n_again = len(self._on_way) - n_gone
            self._read_segment, self._read_at = self._arrived_up_to()
            self._on_way.clear()
            self._n_unread = self._count_unread()
            return n_again

    def tick(self) -> None:
        """Delete what has arrived, keep the cursor, force the newest records to the disk."""
        now = self._clock()
        with self._guard:
            try:
                place = self._arrived_up_to()
                if place != self._kept and now - self._kept_at >= _CURSOR_S:
                    self._keep_cursor(place)
                    self._kept_at = now
                dirty: list[int] = []
                if now - self._synced_at >= _SYNC_S:
                    dirty = [os.dup(self._segments[one].descriptor) for one in self._dirty & set(self._segments)]
                    self._dirty.clear()
                    self._synced_at = now
            except OSError as error:
                self._say(error)
                return
        for descriptor in dirty:  # without the lock: a slow disk holds up nobody
            try:
                os.fsync(descriptor)
            except OSError as error:
                self._say(error)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Keep everything for the next process; may be called twice."""
        with self._guard:
            if self._lock < 0:
                return
            with suppress(OSError):
                self._keep_cursor(self._arrived_up_to())
            for segment in self._segments.values():
                with suppress(OSError):
                    os.fsync(segment.descriptor)
                os.close(segment.descriptor)
            self._segments.clear()
            os.close(self._lock)
            self._lock = -1

    def _read(self, segment: Segment) -> tuple[int, Message] | None:
        """Read the record at the cursor; a damaged one ends its segment."""
        begin = self._read_at
        body, end = record_at(segment.descriptor, begin, segment.size)
        if body is None:
            self.dropped["damaged"] += max(1, self._n_in(segment, begin))
            self._n_unread -= self._n_in(segment, begin)
            self._read_at = segment.size
            return None
        number = self._next
        self._next += 1
        self._read_at = end
        self._n_unread -= 1
        self._on_way[number] = _Place(segment.number, begin, end)
        return number, unpack(body)

    def _n_in(self, segment: Segment, begin: int) -> int:
        """Count the unread records of a segment from a place on, by what is known without reading them."""
        n_later = sum(one.n_records for one in self._segments.values() if one.number > segment.number)
        return max(0, self._n_unread - n_later)

    def _arrived_up_to(self) -> tuple[int, int]:
        """Return the place of the first message that has not arrived."""
        if self._on_way:
            first = self._on_way[min(self._on_way)]
            return first.segment, first.begin
        return self._read_segment, self._read_at

    def _keep_cursor(self, place: tuple[int, int]) -> None:
        """Write where to go on, then delete the segments before it."""
        part = self._folder / "cursor.part"
        part.write_text(json.dumps({"segment": place[0], "offset": place[1]}), encoding="utf-8")
        os.replace(part, self._folder / "cursor.json")
        self._kept = place
        newest = max(self._segments, default=-1)
        for number in [one for one in self._segments if one < place[0] and one != newest]:
            self._remove(self._segments.pop(number))

    def _remove(self, segment: Segment) -> None:
        os.close(segment.descriptor)
        segment.path.unlink(missing_ok=True)

    def _make_room(self, size: int) -> bool:
        """Drop what the policy says until a record fits; say whether it does."""
        if size > self._max_bytes or size > MAX_RECORD_BYTES:
            return False
        while self.n_bytes + size > self._max_bytes:
            place = self._arrived_up_to()
            if any(number < place[0] for number in self._segments):
                self._keep_cursor(place)
                continue
            if self._policy == "drop_newest":
                return False
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        """Drop the oldest segment; its messages that are on their way still arrive."""
        oldest = self._segments.pop(min(self._segments))
        on_way = [number for number, place in self._on_way.items() if place.segment == oldest.number]
        n_unread = 0
        if self._read_segment <= oldest.number:
            self._tell_dropped(oldest, self._read_at if self._read_segment == oldest.number else 0)
            n_later = sum(one.n_records for one in self._segments.values())
            n_unread = max(0, self._n_unread - n_later)
            self._read_segment, self._read_at = min(self._segments, default=oldest.number + 1), 0
        self.dropped["spool full"] += n_unread
        self._n_unread -= n_unread
        for number in on_way:
            self._on_way[number] = _Place(min(self._segments, default=self._read_segment), 0, _GONE)
        self._remove(oldest)

    def _tell_dropped(self, segment: Segment, begin: int) -> None:
        """Tell of the messages of a segment from a place on."""
        while begin < segment.size:
            body, begin = record_at(segment.descriptor, begin, segment.size)
            if body is not None:
                self._on_dropped(unpack(body), "spool full")

    def _segment_for(self, size: int) -> Segment:
        """Return the segment to append to, a new one where the newest is long enough."""
        newest = self._segments.get(max(self._segments, default=-1))
        if newest is not None and (newest.size == 0 or newest.size + size <= self._segment_bytes):
            return newest
        number = max([self._read_segment, *self._segments]) + 1
        path = self._folder / f"{number:012d}.spool"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        segment = Segment(number, path, 0, 0, descriptor)
        self._segments[number] = segment
        return segment

    def _open_segments(self) -> tuple[int, int]:
        """Take over what is in the folder; cut off what is torn. Return where to go on."""
        try:
            for path in sorted(self._folder.glob("*.spool")):
                if path.stem.isdigit():
                    self._take_over(path)
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(f"kafka.spool_dir must be readable, got {str(self._folder)!r}: {error}") from error
        first = min(self._segments, default=0)
        try:
            cursor = json.loads((self._folder / "cursor.json").read_text(encoding="utf-8"))
            segment, offset = int(cursor["segment"]), int(cursor["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return first, 0  # nothing is known to have arrived: all is sent again
        if segment not in self._segments:
            later = [number for number in self._segments if number > segment]
            return (min(later), 0) if later else (max([segment, *self._segments]), 0)
        return segment, min(offset, self._segments[segment].size)

    def _take_over(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR)
        size, good, n_records = os.fstat(descriptor).st_size, 0, 0
        while good < size:
            body, end = record_at(descriptor, good, size)
            if body is None:
                break
            good, n_records = end, n_records + 1
        if good < size:
            _log.warning("kafka: the spool file %s had a torn end, %d bytes were cut off", path.name, size - good)
            self.n_cut_bytes += size - good
            self.dropped["damaged"] += 1
            os.ftruncate(descriptor, good)
        self._segments[int(path.stem)] = Segment(int(path.stem), path, good, n_records, descriptor)

    def _count_unread(self) -> int:
        """Count the records from the cursor on."""
        n_unread = sum(one.n_records for one in self._segments.values() if one.number > self._read_segment)
        segment = self._segments.get(self._read_segment)
        at = self._read_at
        while segment is not None and at < segment.size:
            body, at = record_at(segment.descriptor, at, segment.size)
            if body is None:
                break
            n_unread += 1
        return n_unread

    def _say(self, error: OSError) -> None:
        """Tell a failure once, not again while it lasts."""
        if self._error is None or self._error.errno != error.errno:
            _log.error("kafka: the spool cannot write (%s): messages are dropped and counted", error.strerror or error)
        self._error = error
