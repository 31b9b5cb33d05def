"""Markers of the streams of the owned partitions, read beside the samples.

A marker belongs to the first sample whose stamp reaches its time, and stamps are kept for ten seconds of signal. A
worker that catches up with hours of samples must therefore not run ahead of the markers: before a stream moves on by
more than `SYNC_S` of its own time, everything that the brokers hold of its markers is read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroloop.config.errors import WireError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.wire.messages import marker_from_json
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.partition import Partition
from neuroloop.stream.worker.readers import TopicReader

_log = logging.getLogger("neuroloop.worker")
SYNC_S = 4.0
"""With a frame that is as long, still less than the ten seconds."""
_MAX_WAITING = 10_000
_NUMBERS = re.compile(r"-?[0-9]{1,18}/[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker with its place in the topic.

    Parameters
    ----------
    stream : str
        Id of the stream it belongs to.
    session, k : int
        Which session, and how many markers of it came before.
    marker : Marker
    offset : int
    """

    stream: str
    session: int
    k: int
    marker: Marker
    offset: int


def mark_of(record: Any) -> Mark:
    """Read a record of the markers' topic.

    Raises
    ------
    WireError
        If it is no marker, or does not say which one.
    """
    marker = marker_from_json(record.value or b"")
    identity = (dict(record.headers or ()).get("ce_id") or b"").decode("utf-8", "replace")
    parts = identity.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != "markers" or not _NUMBERS.fullmatch("/".join(parts[2:])):
        raise WireError(f"ce_id must be STREAM/markers/SESSION/K, got {identity[:200]!r}")
    return Mark(parts[0], int(parts[2]), int(parts[3]), marker, record.offset)


class MarkerFeed:
    """Read the markers of partitions.

    Parameters
    ----------
    reader : TopicReader
        Of the topic of markers.
    counts : WorkerCounts
    """

    def __init__(self, reader: TopicReader, counts: WorkerCounts) -> None:
        self._reader = reader
        self._counts = counts
        self._next: dict[int, int] = {}
        self._waiting: dict[int, list[Mark]] = {}

    def begin(self, partition: int, offset: int) -> None:
        """Own a partition from an offset on."""
        self._next[partition] = offset
        self._waiting[partition] = []

    def end(self, partition: int) -> None:
        """Own a partition no longer."""
        self._next.pop(partition, None)
        self._waiting.pop(partition, None)

    def offset(self, partition: int) -> int:
        """Return from where markers must be read again: all before it are with their streams."""
        waiting = self._waiting.get(partition, ())
        return min((mark.offset for mark in waiting), default=self._next.get(partition, 0))

    async def behind(self) -> dict[int, int]:
        """Return where the topic ends for each owned partition of which something was not read."""
        if not self._next:
            return {}
        ends = await self._reader.ends(tuple(self._next))
        return {partition: end for partition, end in ends.items() if self._next.get(partition, end) < end}

    async def catch_up(self, partitions: Mapping[int, Partition], behind: Mapping[int, int]) -> None:
        """Read what was not read and hand it to the streams; markers of streams that have not begun wait.

        Parameters
        ----------
        partitions : mapping
            Those that are owned.
        behind : mapping
            What `behind` returned.
        """
        for number, end in behind.items():
            partition = partitions.get(number)
            if partition is None:
                continue
            for mark in await self._read(number, end):
                if not partition.add_marker(mark.stream, mark.session, mark.marker, mark.k):
                    self._keep(number, mark)

    async def _read(self, partition: int, end: int) -> list[Mark]:
        start = self._next.get(partition, 0)
        marks: list[Mark] = []
        if start < end:
            start = max(start, await self._reader.begin(partition))
            for record in await self._reader.read(partition, start, end):
                end = max(end, record.offset + 1)
                try:
                    marks.append(mark_of(record))
                except WireError as error:
                    if not self._counts.markers_unreadable:
                        _log.warning("the marker at offset %d cannot be read: %s", record.offset, error)
                    self._counts.markers_unreadable += 1
        if partition in self._next:
            self._next[partition] = max(start, end)
        return marks

    def _keep(self, partition: int, mark: Mark) -> None:
        """Let a marker wait for its stream."""
        waiting = self._waiting.setdefault(partition, [])
        waiting.append(mark)
        if len(waiting) > _MAX_WAITING:
            if not self._counts.markers_dropped:
                _log.warning("markers of %s are dropped: %d wait for streams", waiting[0].stream, _MAX_WAITING)
            del waiting[0]
            self._counts.markers_dropped += 1

    def hand_over(self, partition: Partition, stream: str) -> None:
        """Give a stream that has begun the markers that waited for it."""
        waiting = self._waiting.get(partition.number, [])
        self._waiting[partition.number] = [
            mark
            for mark in waiting
            if mark.stream != stream or not partition.add_marker(mark.stream, mark.session, mark.marker, mark.k)
        ]
