"""``events.jsonl`` of a live run: records sorted into their order, written once, resumed after a kill.

Events of one process come in order but for late markers, which belong to a sample that is already over. Records are
therefore held for a while after they arose, sorted, and only then written; the ring's cursor is committed up to what
is on disk. A journal that is opened on an existing file cuts off a half-written line and leaves out every record whose
line is already there.

What a gate says before the stream has begun (an operator who is refused at once) is held until it has: it belongs
behind the beginning, however long a sender takes to appear.

A disk that takes nothing more (full, gone, a limit) is said once and tried again every second; meanwhile the records
are held, as far as there is room for them, and what could not be written is counted.
"""

from __future__ import annotations

import json
import logging
import os
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from neuroloop.stream.contracts.events import Position
from neuroloop.stream.live.shared_state import EventRecord

_log = logging.getLogger("neuroloop.cold")
_TRY_AGAIN_NS = 1_000_000_000
_MOST_HELD_BYTES = 64 << 20


class _Held(NamedTuple):
    """A line that waits, sorted by its order and then by its arrival."""

    order: tuple[int, int, int]
    number: int
    emitted_ns: int
    line: bytes


class EventJournal:
    """Write the events of a live run in order.

    What says where a reader stands, in one ring or in several, is whatever it likes: the journal only gives it back.

    Parameters
    ----------
    path : Path
    hold_s : float
        How long after an event arose a late marker may still go before it, in seconds of this machine's clock.
    tail_bytes : int
        How much of the end of an existing file is looked through for records that come again.
    most_held_bytes : int
        What is held at most while the disk takes nothing; the oldest lines go first, and are counted.
    clock_ns : callable
        As ``time.perf_counter_ns``, on which the records' ``emitted_ns`` are.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        hold_s: float,
        tail_bytes: int = 1 << 20,
        most_held_bytes: int = _MOST_HELD_BYTES,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._path = path
        self._hold_ns = round(hold_s * 1e9)
        self._most_held = most_held_bytes
        self._clock_ns = clock_ns
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._n_taken = 0
        self._batches: deque[tuple[int, Any]] = deque()
        self._known = _resume(path, tail_bytes)
        self._is_begun = bool(self._known)
        """Whether an event of the stream itself has come; until then nothing is written."""
        self._file = path.open("ab", buffering=0)
        self._size = self._file.seek(0, os.SEEK_END)
        self._try_again_ns: int | None = None
        self.is_resumed = self._size > 0
        """Whether an earlier journal wrote into the file."""
        self.n_unwritten = 0
        """Records that were given up because the disk took nothing."""

    def add(self, records: Sequence[EventRecord], deliveries: Sequence[Mapping[str, Any]], place: Any) -> None:
        """Take a batch of records; one that an earlier journal wrote is left out.

        Parameters
        ----------
        records : sequence of EventRecord
        deliveries : sequence of mapping
            Their delivery fields.
        place
            The reader's place behind the batch.
        """
        for record, delivery in zip(records, deliveries, strict=True):
            if self._known and json.loads(record.line)["id"] in self._known:
                continue
            line = f"{record.line[:-1]},{_fields(delivery)}}}\n".encode()
            self._is_begun = self._is_begun or record.position < Position.GATE
            insort(self._held, _Held(record.order, self._n_taken, record.emitted_ns, line))
            self._held_bytes += len(line)
            self._n_taken += 1
        self._batches.append((self._n_taken, place))

    def write_due(self, now_ns: int) -> Any:
        """Write what no late marker can precede any more; return the place up to which all is dealt with.

        Parameters
        ----------
        now_ns : int
            When the last look into the ring began: all that arose before is here.
        """
        if self._try_again_ns is None or now_ns >= self._try_again_ns:
            limit_ns = now_ns - self._hold_ns
            due = 0
            while self._is_begun and due < len(self._held) and self._held[due].emitted_ns <= limit_ns:
                due += 1
            self._write(due)
        if self._held_bytes > self._most_held:
            self._give_up_oldest()
        if not self._batches:
            return None
        oldest_held = min((one.number for one in self._held), default=self._n_taken)
        place = None
        while self._batches and self._batches[0][0] <= oldest_held:
            place = self._batches.popleft()[1]
        return place

    def _write(self, n: int) -> None:
        """Write the first lines that are held: all of them or, where the disk does not take them, none."""
        rest = memoryview(b"".join(one.line for one in self._held[:n]))
        n_bytes = len(rest)
        try:
            if self._try_again_ns is not None:
                os.ftruncate(self._file.fileno(), self._size)
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
            if self._try_again_ns is None:
                _log.error(
                    "out must be a writable folder, got %r: %s; events are held, trying again",
                    str(self._path.parent), error.strerror,
                )  # fmt: skip
            self._try_again_ns = self._clock_ns() + _TRY_AGAIN_NS
            return
        if self._try_again_ns is not None and n:
            _log.warning("%s is written again", self._path.name)
            self._try_again_ns = None
        self._size += n_bytes
        self._held_bytes -= n_bytes
        del self._held[:n]

    def _give_up_oldest(self) -> None:
        """Drop lines until the rest may be held."""
        n = 0
        while self._held_bytes > self._most_held:
            self._held_bytes -= len(self._held[n].line)
            n += 1
        del self._held[:n]
        self.n_unwritten += n

    def close(self) -> None:
        """Write what is held and put it on the disk; may be called twice, raises nothing."""
        if self._file.closed:
            return
        self._write(len(self._held))
        self.n_unwritten += len(self._held)
        self._held.clear()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            _log.error("out must be a writable folder, got %r: %s", str(self._path.parent), error.strerror)
            self.n_unwritten = max(1, self.n_unwritten)
        self._file.close()


def _fields(delivery: Mapping[str, Any]) -> str:
    return json.dumps(delivery, ensure_ascii=False, separators=(",", ":"))[1:-1]


def _resume(path: Path, tail_bytes: int) -> frozenset[str]:
    """Cut off a half-written line; return the ids at the end of the file."""
    if not path.exists():
        return frozenset()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - tail_bytes)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        file.truncate(start + whole)
    lines: Iterable[bytes] = tail[:whole].split(b"\n")[1 if start else 0 :]
    return frozenset(json.loads(line)["id"] for line in lines if line)
