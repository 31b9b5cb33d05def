"""What waits for its receiver, on disk: it survives the death of the process, and is sent in order when that is back.

A folder of segment files ``<number>.spool``, each a run of records (`neuroloop.sinks.spool.segments`: length and
CRC-32 of the body, two unsigned 32-bit numbers, little endian, then the body). ``cursor.json`` says up to where
everything has arrived; a segment that has arrived as a whole is deleted. A record is handed to the operating system
before `Spool.put` returns; once a second it is forced to the disk. After a crash the newest messages may be sent twice,
none is missing; a torn last record is cut off and counted. Damaged records are stepped over and counted, and their file
is kept as ``<number>.damaged``. A process writes only to segments that it began itself: what it finds of an earlier one
may be shorter than the cursor says.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, Literal

from neuroloop.config.errors import ConfigError
from neuroloop.sinks.spool.segments import MAX_RECORD_BYTES, RecordFormat, Segment, T, force
from neuroloop.sinks.spool.waiting import Dropped, tell_nobody

_SEGMENT_BYTES = 8 << 20
_MIN_SEGMENTS = 8
_SYNC_S = 1.0
_CURSOR_S = 0.2
_MAX_UNTOLD = 4
"""Dropped segments of which nobody was told yet: so long they keep their room on the disk."""
_NO_WRITING = "cannot write (%s): messages are dropped and counted"
_NO_READING = "cannot be read (%s): what it holds waits"


@dataclass(frozen=True)
class _Taken(Generic[T]):
    """A message that was read, and its place: number of the segment, begin of the record."""

    place: tuple[int, int]
    message: T


class Spool(Generic[T]):
    """Waiting messages in files; implements `neuroloop.sinks.spool.waiting.Waiting`.

    Parameters
    ----------
    folder : Path
        Made where it is missing. What an earlier process left there is sent first.
    max_bytes : int
        How much may wait.
    policy : {"drop_oldest", "drop_newest"}
        What is dropped for want of room: the oldest segment, or the message that comes. Messages on their way are never
        dropped, though their segment may be.
    form : RecordFormat
        How messages become bytes.
    section : str
        Of the configuration that asks for it: whose ``spool_dir`` is wrong, and whose log this is.
    on_dropped : callable
        Told of each message that is lost, as far as it can still be read; of those of a segment not before `tick`.
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
        form: RecordFormat[T],
        section: str,
        on_dropped: Dropped[T] = tell_nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._form = form
        self._section = section
        self._log = logging.getLogger(f"neuroloop.{section}")
        self._on_dropped = on_dropped
        self.dropped: Counter[str] = Counter()
        """Messages, by reason; of a record that is torn or damaged nobody knows more than that it was there."""
        self.n_cut_bytes = 0
        """Bytes of torn records that were cut off when the folder was opened."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(4096, min(_SEGMENT_BYTES, max_bytes // _MIN_SEGMENTS))
        self._policy = policy
        self._clock = clock
        self._guard = threading.RLock()
        self._segments: dict[int, Segment] = {}  # the oldest first
        self._n_bytes = 0
        self._writing: Segment | None = None
        self._on_way: dict[int, _Taken[T]] = {}
        self._again: deque[_Taken[T]] = deque()
        self._next = 0
        self._untold: deque[tuple[BinaryIO, int]] = deque()
        self._dirty: set[int] = set()
        self._synced_at = self._kept_at = clock()
        self._errors: dict[str, int | None] = {}
        self._lock = _locked(folder, section)
        try:
            self._kept = self._read_segment, self._read_at = _cursor_in(folder)
            self._take_over()
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(f"{section}.spool_dir must be readable, got {str(folder)!r}: {error}") from error

    @property
    def n_waiting(self) -> int:
        """Messages that have not arrived."""
        with self._guard:
            n_unread = sum(segment.n_unread for segment in self._segments.values())
            return n_unread + len(self._on_way) + len(self._again)

    @property
    def n_bytes(self) -> int:
        """What the segments take on the disk, in bytes."""
        return self._n_bytes

    def put(self, message: T) -> None:
        """Append a message; what the disk does not take, or what has no room, is dropped and counted."""
        record = self._form.as_record(message)
        with self._guard:
            try:
                if not self._make_room(len(record)):
                    self._drop(message, "spool full")
                    return
                segment = self._segment_for(len(record))
                segment.append(record)
            except OSError as error:
                self._say(_NO_WRITING, error)
                self._drop(message, "disk")
                return
            self._errors.pop(_NO_WRITING, None)
            self._n_bytes += len(record)
            self._dirty.add(segment.number)

    def take(self) -> tuple[int, T] | None:
        """Return the next message that is not on its way, and its number; None if there is none."""
        with self._guard:
            try:
                taken = self._again.popleft() if self._again else self._read_next()
            except OSError as error:
                self._say(_NO_READING, error)
                return None
            self._errors.pop(_NO_READING, None)
            if taken is None:
                return None
            number = self._next
            self._next += 1
            self._on_way[number] = taken
            return number, taken.message

    def put_back(self, number: int) -> None:
        """Let the message that was taken last be the next again."""
        with self._guard:
            self._again.appendleft(self._on_way.pop(number))

    def done(self, number: int) -> None:
        """Forget a message: it has arrived, or never will."""
        with self._guard:
            self._on_way.pop(number, None)

    def rewind(self) -> int:
        """Let everything that is on its way be taken again, in order; return how many."""
        with self._guard:
            n_again = len(self._on_way)
            self._again.extendleft(reversed(self._on_way.values()))
            self._on_way.clear()
            return n_again

    def tick(self) -> None:
        """Delete what has arrived, keep the cursor, force the newest records to the disk, tell of what was dropped."""
        now = self._clock()
        dirty: list[Path] = []
        with self._guard:
            untold, self._untold = self._untold, deque()
            try:
                place = self._arrived_up_to()
                if place != self._kept and now - self._kept_at >= _CURSOR_S:
                    self._keep_cursor(place)
                    self._kept_at = now
            except OSError as error:
                self._say(_NO_WRITING, error)
            if now - self._synced_at >= _SYNC_S:
                dirty = [self._segments[number].path for number in self._dirty & self._segments.keys()]
                self._dirty.clear()
                self._synced_at = now
        for file, begin in untold:  # without the lock, as below: 8 MB of small messages take 0.1 s
            self._tell(file, begin)
        for path in dirty:
            try:
                force(path)
            except OSError as error:
                self._say(_NO_WRITING, error)

    def close(self) -> None:
        """Keep everything for the next process; may be called twice."""
        with self._guard:
            if self._lock < 0:
                return
            self.rewind()
            kept = [one for one in self._again if one.place[0] in self._segments]
            for one in self._again:
                if one.place[0] not in self._segments:
                    self._drop(one.message, "spool full")
            self._again = deque(kept)
            while self._untold:
                self._tell(*self._untold.popleft())
            with suppress(OSError):
                self._keep_cursor(self._arrived_up_to())
            for segment in self._segments.values():
                segment.close()
                if segment.number in self._dirty:
                    with suppress(OSError):
                        force(segment.path)
            os.close(self._lock)
            self._lock = -1

    def _read_next(self) -> _Taken[T] | None:
        """Read the next record that is whole."""
        while True:
            segment = self._segments.get(self._read_segment)
            while segment is not None and self._read_at < segment.size:
                place = segment.number, self._read_at
                record = segment.record_at(self._read_at, self._form)
                if record is None:
                    self._step_over(segment)
                    continue
                self._read_at += len(record)
                segment.n_unread -= 1
                return _Taken(place, self._form.thing_of(record))
            later = next((number for number in self._segments if number > self._read_segment), None)
            if later is None:
                return None
            if segment is not None:
                segment.close()
            self._read_segment, self._read_at = later, 0

    def _step_over(self, segment: Segment) -> None:
        """Go on with the next whole record of a segment; count those that were whole before."""
        places = [begin for begin, _ in self._form.whole_records(segment.raw(), self._read_at)]
        if segment.n_unread > len(places):
            self._lose(segment, segment.n_unread - len(places))
        segment.n_unread = len(places)
        self._read_at = places[0] if places else segment.size

    def _lose(self, segment: Segment, n_records: int) -> None:
        """Count damaged records; say it once for each file."""
        self.dropped["damaged"] += n_records
        if not segment.is_damaged:
            segment.is_damaged = True
            self._log.error(
                "%s: the spool file %s is damaged, %d messages of it are lost; it is kept as %s",
                self._section, segment.path.name, n_records, segment.path.with_suffix(".damaged").name,
            )  # fmt: skip

    def _arrived_up_to(self) -> tuple[int, int]:
        """Return the place of the first message that has not arrived."""
        first = self._read_segment, self._read_at
        if self._on_way:
            first = next(iter(self._on_way.values())).place
        elif self._again:
            first = self._again[0].place
        return max(first, (next(iter(self._segments), 0), 0))

    def _keep_cursor(self, place: tuple[int, int]) -> None:
        """Write where to go on, then delete the segments before it."""
        part = self._folder / "cursor.part"
        part.write_text(json.dumps({"segment": place[0], "offset": place[1]}), encoding="utf-8")
        os.replace(part, self._folder / "cursor.json")
        self._kept = place
        for number in [one for one in self._segments if one < place[0]]:
            segment = self._segments.pop(number)
            if segment.is_damaged:
                with suppress(FileNotFoundError):
                    os.replace(segment.path, segment.path.with_suffix(".damaged"))
            self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        self._n_bytes -= segment.size
        segment.close()
        segment.path.unlink(missing_ok=True)

    def _make_room(self, size: int) -> bool:
        """Drop what the policy says until a record fits; say whether it does."""
        if size > self._max_bytes or size > MAX_RECORD_BYTES:
            return False
        while self._n_bytes + size > self._max_bytes:
            place = self._arrived_up_to()
            if next(iter(self._segments)) < place[0]:
                self._keep_cursor(place)
                continue
            if self._policy == "drop_newest":
                return False
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        """Drop the oldest segment, but not what was taken of it; its messages are told at the next tick."""
        number = next(iter(self._segments))
        oldest = self._segments.pop(number)
        begin = self._read_at if number == self._read_segment else 0
        if number >= self._read_segment:
            self._read_segment, self._read_at = next(iter(self._segments), number + 1), 0
        if oldest is self._writing:
            self._writing = None
        self.dropped["spool full"] += oldest.n_unread
        if oldest.n_unread:
            with suppress(OSError):
                self._untold.append((oldest.path.open("rb"), begin))
        self._remove(oldest)
        if len(self._untold) > _MAX_UNTOLD:
            self._tell(*self._untold.popleft())

    def _drop(self, message: T, reason: str) -> None:
        """Count a message that is lost, and tell of it."""
        self.dropped[reason] += 1
        self._on_dropped(message, reason)

    def _tell(self, file: BinaryIO, begin: int) -> None:
        """Tell of the messages of a dropped segment from a place on, and give its room on the disk free."""
        with file:
            raw = file.read()
        for first, end in self._form.whole_records(raw, begin):
            self._on_dropped(self._form.thing_of(raw[first:end]), "spool full")

    def _segment_for(self, size: int) -> Segment:
        """Return the segment to append to, a new one where the newest is long enough or of another process."""
        writing = self._writing
        if writing is not None and (writing.size == 0 or writing.size + size <= self._segment_bytes):
            return writing
        number = max(self._read_segment, next(reversed(self._segments), 0)) + 1
        segment = Segment(number, self._folder / f"{number:012d}.spool")
        segment.path.touch(0o600, exist_ok=False)
        if writing is not None:
            writing.close()
        self._segments[number] = self._writing = segment
        return segment

    def _take_over(self) -> None:
        """Take what is in the folder from the cursor on; cut off what is torn."""
        for path in sorted(self._folder.glob("*.spool")):
            if not path.stem.isdigit():
                continue
            number = int(path.stem)
            if number < self._read_segment:
                path.unlink()  # it has arrived
                continue
            raw = path.read_bytes()
            begin = min(self._read_at, len(raw)) if number == self._read_segment else 0
            found = self._form.survey(raw, begin)
            segment = self._segments[number] = Segment(number, path, found.end, found.n_whole)
            self._n_bytes += found.end
            if found.n_damaged:
                self._lose(segment, found.n_damaged)
            if found.end < len(raw):
                n_cut = len(raw) - found.end
                self._log.warning(
                    "%s: the spool file %s had a torn end, %d bytes were cut off", self._section, path.name, n_cut
                )
                self.n_cut_bytes += n_cut
                self.dropped["damaged"] += 1
                os.truncate(path, found.end)

    def _say(self, what: str, error: OSError) -> None:
        """Tell a failure once, not again while it lasts."""
        if self._errors.get(what, -1) != error.errno:
            self._log.error(f"%s: the spool {what}", self._section, error.strerror or error)
        self._errors[what] = error.errno


def _locked(folder: Path, section: str) -> int:
    """Make a folder this process's own; return what is to be closed at the end."""
    try:
        import fcntl  # absent on Windows, where everything else is to work
    except ImportError as error:
        rule = f"{section}.overflow must be drop_oldest or drop_newest where files cannot be locked"
        raise ConfigError(f"{rule}, got 'spool' on {sys.platform}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{section}.spool_dir must be a folder to write in, got {str(folder)!r}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        rule = f"{section}.spool_dir must be used by one process at a time"
        raise ConfigError(f"{rule}, got {str(folder)!r}, which another one uses") from error
    return lock


def _cursor_in(folder: Path) -> tuple[int, int]:
    """Return up to where everything has arrived: number of a segment, bytes of it."""
    try:
        cursor = json.loads((folder / "cursor.json").read_text(encoding="utf-8"))
        return int(cursor["segment"]), int(cursor["offset"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0  # nothing is known to have arrived: all is sent again
