"""Markers of the streams of the owned partitions, read beside the samples.

A marker belongs to the first sample whose stamp reaches its time, and stamps are kept for ten seconds of signal. A
worker that catches up with hours of samples must therefore not run ahead of the markers: before a stream moves on by
more than `SYNC_S` of its own time, everything that the brokers hold of its markers is read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from stream.contracts.errors import WireError
from stream.contracts.events import Marker
from stream.contracts.messages import marker_from_json
from stream.worker.readers import TopicReader

_log = logging.getLogger("neuroloop.worker")
SYNC_S = 5.0
_MAX_WAITING = 10_000


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
    identity = dict(record.headers or ()).get("ce_id", b"").decode("utf-8", "replace")
    parts = identity.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != "markers" or not parts[3].isdigit() or not parts[2].lstrip("-").isdigit():
        raise WireError(f"ce_id must be STREAM/markers/SESSION/K, got {identity!r}")
    return Mark(parts[0], int(parts[2]), int(parts[3]), marker, record.offset)


class MarkerFeed:
    """Read the markers of partitions.

    Parameters
    ----------
    reader : TopicReader
        Of the topic of markers.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._next: dict[int, int] = {}
        self._waiting: dict[int, list[Mark]] = {}
        self.n_dropped = 0
        self.n_unreadable = 0

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
        waiting = self._waiting.get(partition)
        return waiting[0].offset if waiting else self._next.get(partition, 0)

    async def catch_up(self, partition: int) -> list[Mark]:
        """Return what the brokers hold and was not read."""
        end = await self._reader.end(partition)
        start = self._next.get(partition, 0)
        marks: list[Mark] = []
        if start < end:
            start = max(start, await self._reader.begin(partition))
            for record in await self._reader.read(partition, start, end):
                end = max(end, record.offset + 1)
                try:
                    marks.append(mark_of(record))
                except WireError as error:
                    self.n_unreadable += 1
                    _log.warning("a marker at offset %d cannot be read: %s", record.offset, error)
        if partition in self._next:
            self._next[partition] = max(start, end)
        return marks

    def keep(self, partition: int, mark: Mark) -> None:
        """Let a marker wait for its stream."""
        waiting = self._waiting.setdefault(partition, [])
        waiting.append(mark)
        if len(waiting) > _MAX_WAITING:
            del waiting[0]
            self.n_dropped += 1

    def waiting(self, partition: int, stream: str) -> list[Mark]:
        """Take what waited for a stream."""
        waiting = self._waiting.get(partition, [])
        found = [mark for mark in waiting if mark.stream == stream]
        if found:
            self._waiting[partition] = [mark for mark in waiting if mark.stream != stream]
        return found
