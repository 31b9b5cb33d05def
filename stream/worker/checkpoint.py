"""Keeping what a partition has come to: outputs, then snapshots, then the offset, each acknowledged before the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.worker.changelog import FLOOR_HEADER
from neuroloop.stream.worker.clients import Clients
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.outbox import arrived
from neuroloop.stream.worker.partition import Partition, Place
from neuroloop.stream.worker.snapshot import Snapshot, encode_snapshot, without_arrays


@dataclass(frozen=True)
class Taken:
    """What a checkpoint of one partition is about to write.

    Parameters
    ----------
    partition : Partition
    covered : int
        Offset of the first message that is not in it.
    written : list of (Place, Snapshot)
    gone : list of str
        Streams to forget.
    markers_offset : int, optional
        All markers before it are in the snapshots.
    """

    partition: Partition
    covered: int
    written: list[tuple[Place, Snapshot]]
    gone: list[str]
    markers_offset: int | None


class Checkpoints:
    """Take and keep the state of partitions.

    Parameters
    ----------
    clients : Clients
    settings : WorkerSettings
    counts : WorkerCounts
    clock : callable
        Seconds that only go on.
    """

    def __init__(
        self, clients: Clients, settings: WorkerSettings, counts: WorkerCounts, *, clock: Callable[[], float]
    ) -> None:
        self._clients = clients
        self._settings = settings
        self.counts = counts
        self._clock = clock

    def take_state(self, partition: Partition) -> Taken:
        """Take the state of the streams that moved; nothing is sent."""
        begin = time.thread_time()
        now = self._clock()
        feed = self._clients.markers
        markers_offset = feed.offset(partition.number) if feed is not None else None
        written: list[tuple[Place, Snapshot]] = []
        gone: list[str] = []
        for stream, place in partition.places.items():
            stream_session = place.stream_session
            if place.is_ended and place.ended_s is not None and place.stored is not None and place.stored.is_ended:
                place.stream_session = None  # what it held in memory
                if now >= place.ended_s + self._settings.forget_s:
                    gone.append(stream)
                elif now >= place.written_s + self._settings.refresh_s:
                    place.written_s = now
                    written.append((place, place.stored))
                continue
            if stream_session is None or not (
                stream_session.is_dirty or now >= place.written_s + self._settings.refresh_s
            ):
                continue
            snapshot = stream_session.snapshot(partition.next_offset, partition.markers_offset)
            if snapshot is None:
                markers_offset = None  # it has markers that no snapshot has
            else:
                stream_session.is_dirty = False
                place.written_s = now
                written.append((place, snapshot))
        self.counts.snapshot_s += time.thread_time() - begin
        return Taken(partition, partition.next_offset, written, gone, markers_offset)

    async def keep(self, taken: Taken, outputs: list[asyncio.Future[Any]]) -> None:
        """Wait for the outputs, write the snapshots, wait for them, commit, forget."""
        partition, topic = taken.partition, self._clients.changelog.topic
        await arrived(outputs)
        floors = [place.stored_at for place in partition.places.values() if place.stored is not None]
        headers = ((FLOOR_HEADER, str(min(floors, default=0)).encode()),) if floors else ()
        waiting: list[asyncio.Future[Any]] = []
        for _, snapshot in taken.written:
            begin = time.thread_time()
            payload = encode_snapshot(snapshot)
            self.counts.snapshots += 1
            self.counts.snapshot_bytes += len(payload)
            self.counts.snapshot_s += time.thread_time() - begin  # behind the next await others run, too
            waiting.append(await self._clients.outbox.store(topic, partition.number, snapshot.stream, payload, headers))
        for (place, snapshot), record in zip(taken.written, await arrived(waiting), strict=True):
            place.stored, place.stored_at = without_arrays(snapshot), int(record.offset)
        if taken.markers_offset is not None:
            partition.markers_offset = taken.markers_offset
        self._sum_up(partition)
        safe = partition.safe_offset(taken.covered)
        if safe == partition.committed and not taken.gone:
            return
        if not await self._clients.commit({partition.number: safe}):
            return  # it is another worker's now, and so is what it has ended
        partition.committed = safe
        self.counts.commits += 1
        gone = [stream for stream in taken.gone if partition.places[stream].is_ended]
        for stream in gone:
            del partition.places[stream]
        waiting = [await self._clients.outbox.store(topic, partition.number, one, None, headers) for one in gone]
        await arrived(waiting)
        self.counts.tombstones += len(gone)

    def _sum_up(self, partition: Partition) -> None:
        """Add what the streams counted."""
        counts, more = self.counts, partition.take_counts()
        counts.samples += more.samples
        counts.refilled += more.refilled
        counts.duplicates += more.duplicates
        counts.lost += more.lost
        counts.reordered += more.reordered
        counts.process_s += more.process_ns * 1e-9
