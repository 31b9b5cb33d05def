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

Headers = tuple[tuple[str, bytes], ...]


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
                if place.is_refusing:
                    place.is_refusing, place.ended_s = False, now
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
            snapshot = stream_session.snapshot(partition.covered(stream), partition.markers_offset)
            if snapshot is None:
                markers_offset = None  # it has markers that no snapshot has
            else:
                stream_session.is_dirty = False
                place.written_s = now
                written.append((place, snapshot))
        self.counts.snapshot_s += time.thread_time() - begin
        return Taken(partition, partition.covered(), written, gone, markers_offset)

    async def keep(self, taken: Taken, outputs: list[asyncio.Future[Any]]) -> None:
        """Bring what a partition has come to to the brokers, and commit it.

        A worker may die, or lose its partition, between any two of these steps. Whoever owns the partition next begins
        at the committed offset with the newest snapshots; the order is such that it says every event that is missing,
        and the same ones.

        1. Wait for the outputs. First, because a snapshot promises that every event before it is out: were it there and
           they were not, nobody would ever say them again. Events that come a second time have the same identity.
        2. Write the snapshots, wait for them. Before the offset is committed, because what lies below it is never read
           again: what it covers must be in a snapshot by then. Each says from where on its changelog must be read.
        3. Note what the brokers have now. Not before they have it: the next floor, and the offset, are made of this.
        4. Commit the offset, the lowest that any stream still needs. Where the group refuses, the partition has
           another owner, whose streams these are now: nothing more is done for them here.
        5. Forget streams that ended long ago. Last: as long as an owner may begin before the offset of step 4, it may
           meet their frames again, and only their snapshots tell it that they are over.

        Parameters
        ----------
        taken : Taken
            From `take_state`.
        outputs : list of Future
            Acknowledgements of all that was sent before that.

        Raises
        ------
        WorkerError
            If the brokers did not take something.
        """
        partition = taken.partition
        await arrived(outputs)  # 1
        headers = self._floor_of(partition)
        stored = await arrived(await self._write(taken, headers))  # 2
        for (place, snapshot), record in zip(taken.written, stored, strict=True):  # 3
            place.stored, place.stored_at = without_arrays(snapshot), int(record.offset)
        if taken.markers_offset is not None:
            partition.markers_offset = taken.markers_offset
        self._sum_up(partition)
        safe = partition.safe_offset(taken.covered)
        if safe == partition.committed and not taken.gone:
            return
        if not await self._clients.commit({partition.number: safe}):  # 4
            return
        partition.committed = safe
        self.counts.commits += 1
        await self._forget(partition, taken.gone, headers)  # 5

    async def _write(self, taken: Taken, headers: Headers) -> list[asyncio.Future[Any]]:
        """Send the snapshots; return their acknowledgements to come."""
        waiting: list[asyncio.Future[Any]] = []
        for _, snapshot in taken.written:
            begin = time.thread_time()
            payload = encode_snapshot(snapshot)
            self.counts.snapshots += 1
            self.counts.snapshot_bytes += len(payload)
            self.counts.snapshot_s += time.thread_time() - begin  # behind the next await others run, too
            waiting.append(await self._store(taken.partition, snapshot.stream, payload, headers))
        return waiting

    async def _forget(self, partition: Partition, streams: list[str], headers: Headers) -> None:
        """Remove streams that have ended, and have not begun anew meanwhile, with their snapshots."""
        gone = [stream for stream in streams if partition.places[stream].is_ended]
        for stream in gone:
            del partition.places[stream]
        await arrived([await self._store(partition, stream, None, headers) for stream in gone])
        self.counts.tombstones += len(gone)

    async def _store(
        self, partition: Partition, stream: str, payload: bytes | None, headers: Headers
    ) -> asyncio.Future[Any]:
        topic = self._clients.changelog.topic
        return await self._clients.outbox.store(topic, partition.number, stream, payload, headers)

    @staticmethod
    def _floor_of(partition: Partition) -> Headers:
        """Return what records say of where the oldest snapshot that counts is found."""
        floors = [place.stored_at for place in partition.places.values() if place.stored is not None]
        return ((FLOOR_HEADER, str(min(floors)).encode()),) if floors else ()

    def _sum_up(self, partition: Partition) -> None:
        """Add what the streams counted."""
        counts, more = self.counts, partition.take_counts()
        counts.samples += more.samples
        counts.refilled += more.refilled
        counts.duplicates += more.duplicates
        counts.lost += more.lost
        counts.reordered += more.reordered
        counts.process_s += more.process_ns * 1e-9
