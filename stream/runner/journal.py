"""``events.jsonl`` of a live run: records sorted into their order, written once, resumed after a kill.

Events of one process come in order but for late markers, which belong to a sample that is already over. Records are
therefore held until the stream is ``hold_s`` past them, sorted, and only then written; the ring's cursor is committed
up to what is on disk. A journal that is opened on an existing file cuts off a half-written line and leaves out every
record whose line is already there.
"""

from __future__ import annotations

import json
import math
import os
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stream.ring.header import Place
from stream.runner.shared import EventRecord

_TAIL_BYTES = 1 << 20


class Journal:
    """Write the events of a live run in order.

    Parameters
    ----------
    path : Path
    hold_samples : int
        Samples of the stream that must have come after an event before it is written.
    """

    def __init__(self, path: Path, *, hold_samples: int) -> None:
        self._hold_samples = hold_samples
        self._held: list[tuple[tuple[int, int, int], int, str]] = []
        self._n_taken = 0
        self._batches: deque[tuple[int, Place]] = deque()
        self._known = _resume(path)
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def add(self, records: Sequence[EventRecord], deliveries: Sequence[Mapping[str, Any]], place: Place) -> None:
        """Take a batch of records; one that an earlier journal wrote is left out.

        Parameters
        ----------
        records : sequence of EventRecord
        deliveries : sequence of mapping
            Their delivery fields.
        place : Place
            The reader's place behind the batch.
        """
        for record, delivery in zip(records, deliveries, strict=True):
            if self._known and json.loads(record.line)["id"] in self._known:
                continue
            line = f"{record.line[:-1]},{_fields(delivery)}}}\n"
            insort(self._held, (record.order, self._n_taken, line))
            self._n_taken += 1
        self._batches.append((self._n_taken, place))

    def write_due(self, newest_sample: int) -> Place | None:
        """Write what no late marker can precede any more; return the place up to which everything is written."""
        return self._write(newest_sample - self._hold_samples)

    def _write(self, newest_due: float) -> Place | None:
        due = 0
        while due < len(self._held) and self._held[due][0][0] <= newest_due:
            due += 1
        if due:
            self._file.writelines(line for _, _, line in self._held[:due])
            self._file.flush()
            del self._held[:due]
        oldest_held = min((number for _, number, _ in self._held), default=self._n_taken)
        place = None
        while self._batches and self._batches[0][0] <= oldest_held:
            place = self._batches.popleft()[1]
        return place

    def close(self) -> None:
        """Write what is held and put it on the disk; may be called twice."""
        if not self._file.closed:
            self._write(math.inf)
            os.fsync(self._file.fileno())
            self._file.close()


def _fields(delivery: Mapping[str, Any]) -> str:
    return json.dumps(delivery, ensure_ascii=False, separators=(",", ":"))[1:-1]


def _resume(path: Path) -> frozenset[str]:
    """Cut off a half-written line; return the ids at the end of the file."""
    if not path.exists():
        return frozenset()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        file.truncate(start + whole)
    lines: Iterable[bytes] = tail[:whole].split(b"\n")[1 if start else 0 :]
    return frozenset(json.loads(line)["id"] for line in lines if line)
