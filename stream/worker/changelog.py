"""The topic of snapshots: one compacted partition per partition of samples, the stream's id as the key.

Each record says, in the header ``floor``, from which offset on the newest snapshot of every stream of the partition is
found. To restore, a worker reads the last record and goes on from there: what the topic holds below, compacted or not,
costs nothing. Where several snapshots of a stream are found the one that covers most counts, not the last: a worker
that was thought dead may have written after its successor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroloop.config.errors import BrokerError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.topic_admin import make_topics, topic_admin
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.control import control_topic
from neuroloop.stream.worker.errors import SnapshotError
from neuroloop.stream.worker.readers import TopicReader
from neuroloop.stream.worker.snapshot import Snapshot, decode_snapshot

_log = logging.getLogger("neuroloop.worker")
FLOOR_HEADER = "floor"
_LOOK_BACK = 16
_COMPACTION = {
    "cleanup.policy": "compact",
    "segment.ms": "600000",
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
    "min.compaction.lag.ms": "600000",
    "delete.retention.ms": "3600000",
}


def changelog_topic(group: str) -> str:
    """Return the name of the topic that keeps a group's snapshots."""
    return f"{group}.snapshots"


@dataclass(frozen=True)
class Prepared:
    """What a worker finds.

    Parameters
    ----------
    has_markers : bool
        Whether there is a topic of markers.
    n_partitions : int
        Of the samples, the markers and the snapshots alike.
    """

    has_markers: bool
    n_partitions: int


def prepare_topics(settings: KafkaSettings, group: str, snapshot_bytes: int) -> Prepared:
    """Make the changelog and the control topic if they are missing, check that all fit.

    Parameters
    ----------
    settings : KafkaSettings
    group : str
    snapshot_bytes : int
        The largest snapshot.

    Raises
    ------
    BrokerError
        If the brokers cannot be reached or refuse, or topics do not fit together.
    """
    topics, name = Topics(settings.prefix), changelog_topic(group)
    with topic_admin(settings) as admin:
        counts = _partitions(admin, (topics.samples, topics.markers, name, control_topic(group)))
        n_samples = counts.get(topics.samples)
        if n_samples is None:
            raise BrokerError(f"topic {topics.samples} must exist, got none of that name")
        if counts.get(topics.markers, n_samples) != n_samples:
            rule = f"as many partitions as {topics.samples} ({n_samples})"
            raise BrokerError(f"topic {topics.markers} must have {rule}, got {counts[topics.markers]}")
        if name not in counts:
            _make(admin, settings, name, n_samples, snapshot_bytes)
        elif counts[name] != n_samples:
            raise BrokerError(moved(name, topics.samples, n_samples, counts[name]))
        if control_topic(group) not in counts:
            _make(admin, settings, control_topic(group), 1, 0)
        return Prepared(topics.markers in counts, n_samples)


def moved(name: str, samples: str, n_samples: int, n_found: int) -> str:
    """Return what is wrong where the partitions of the samples and of the snapshots are not as many."""
    rule = f"as many partitions as {samples} ({n_samples}), and streams must not move between them"
    return f"topic {name} must have {rule}, got {n_found}"


def _partitions(admin: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Return the numbers of partitions of those topics that exist."""
    existing = set(admin.list_topics())
    wanted = [name for name in names if name in existing]
    return {one["name"]: len(one["partitions"]) for one in admin.describe_topics(wanted)} if wanted else {}


def _make(admin: Any, settings: KafkaSettings, name: str, n_partitions: int, snapshot_bytes: int) -> None:
    if not settings.topics.create:
        raise BrokerError(f"kafka.topics.create must be true, or this topic made beforehand: {name}")
    options = {
        "num_partitions": n_partitions,
        "replication_factor": settings.topics.replication,
        "configs": {**_COMPACTION, "max.message.bytes": str(max(1_048_588, snapshot_bytes + 64 * 1024))},
    }
    make_topics(admin, {name: options})


@dataclass(frozen=True)
class Stored:
    """A snapshot as it was found.

    Parameters
    ----------
    snapshot : Snapshot
    offset : int
        Of its record in the changelog.
    """

    snapshot: Snapshot
    offset: int


class Changelog:
    """Read a group's snapshots.

    Parameters
    ----------
    reader : TopicReader
        Of `changelog_topic`.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self.topic = reader.topic

    async def read(self, partition: int) -> dict[str, Stored]:
        """Return the newest snapshot of every stream of a partition.

        Raises
        ------
        SnapshotError
            If one cannot be read.
        WorkerError
            If the brokers do not answer.
        """
        begin, end = await self._reader.begin(partition), await self._reader.end(partition)
        start = await self._floor(partition, begin, end)
        found: dict[str, Stored] = {}
        for record in await self._reader.read(partition, start, end):
            stream = (record.key or b"").decode("utf-8", "replace")
            if record.value is None:
                found.pop(stream, None)
                continue
            try:
                stored = Stored(decode_snapshot(record.value), record.offset)
            except SnapshotError as error:
                where = f"{self.topic}/{partition} at offset {record.offset}"
                raise SnapshotError(f"{where} (stream {stream!r}): {error}") from error
            known = found.get(stream)
            if known is None or _reach(stored.snapshot) >= _reach(known.snapshot):
                found[stream] = stored
        return found

    async def _floor(self, partition: int, begin: int, end: int) -> int:
        """Return where to begin to read: what the last record says."""
        records = await self._reader.read(partition, max(begin, end - _LOOK_BACK), end)
        return max(begin, _floor_of(dict(records[-1].headers or ()), begin)) if records else begin


def _floor_of(headers: Mapping[str, bytes], begin: int) -> int:
    text = headers.get(FLOOR_HEADER, b"")
    return int(text) if text.isdigit() else begin


def _reach(snapshot: Snapshot) -> tuple[int, int]:
    return snapshot.covered_offset, snapshot.serial
