"""The worker itself: messages in, events out, snapshots kept, offsets committed, in this order and no other.

For every partition: the outputs of all messages so far are acknowledged by the brokers, then the snapshots, then the
offset is committed. Whatever dies between two of these steps is done again by the next owner, with the same result.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from config.tree import Config
from config.worker import WorkerSettings
from models.bundle import Bundle
from stream.contracts.errors import WireError
from stream.contracts.messages import DeadLetter, StreamDescription, dead_letter_message, event_message
from stream.contracts.topics import Topics
from stream.contracts.wire import Frame, decode_frame
from stream.worker.capture import LARGE_BYTES
from stream.worker.changelog import FLOOR_HEADER, Changelog
from stream.worker.counts import WorkerCounts
from stream.worker.descriptions import Descriptions
from stream.worker.errors import StreamRefused, WorkerError
from stream.worker.lane import Lane
from stream.worker.marker_feed import SYNC_S, MarkerFeed
from stream.worker.outbox import Outbox, arrived
from stream.worker.partition import Partition, Place, Said
from stream.worker.readers import GroupOffsets, TopicReader
from stream.worker.snapshot import Snapshot, encode_snapshot

_log = logging.getLogger("neuroloop.worker")
SESSION_HEADER = "neuroloop-session"


@dataclass(frozen=True)
class Links:
    """What the worker reaches the brokers through.

    Parameters
    ----------
    outbox : Outbox
    samples : TopicReader
    offsets : GroupOffsets
    changelog : Changelog
    descriptions : Descriptions
    markers : MarkerFeed, optional
    seek : callable
        Moves the group's consumer: partition, offset.
    commit : callable
        Commits offsets by partition; False where the partitions are not ours any more.
    """

    outbox: Outbox
    samples: TopicReader
    offsets: GroupOffsets
    changelog: Changelog
    descriptions: Descriptions
    markers: MarkerFeed | None
    seek: Callable[[int, int], Awaitable[None]]
    commit: Callable[[Mapping[int, int]], Awaitable[bool]]


@dataclass
class _Taken:
    """What a checkpoint of one partition is about to write."""

    partition: Partition
    covered: int
    written: list[tuple[Place, Snapshot]]
    gone: list[str]
    markers_offset: int | None


class WorkerRuntime:
    """Process the messages of the owned partitions.

    Parameters
    ----------
    config : Config
        With ``kafka`` and ``worker``.
    settings : WorkerSettings
    bundle : Bundle, optional
    links : Links
    counts : WorkerCounts
    clock : callable
        Seconds that only go on.

    Attributes
    ----------
    large_bytes : int
        As `stream.worker.capture.Capture` takes it.
    """

    def __init__(
        self,
        config: Config,
        settings: WorkerSettings,
        bundle: Bundle | None,
        links: Links,
        counts: WorkerCounts,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.kafka is None:
            raise ValueError("config.kafka must be given, got None")
        self._config = config
        self._settings = settings
        self._bundle = bundle
        self._links = links
        self._clock = clock
        self._max_bytes = config.kafka.max_message_bytes
        self.counts = counts
        self.large_bytes = LARGE_BYTES
        self._in_topics = Topics(config.kafka.prefix)
        self._topics = Topics(settings.output_prefix or config.kafka.prefix)
        self.partitions: dict[int, Partition] = {}
        self._busy = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._sought: dict[int, int] = {}
        self._synced: dict[str, float] = {}
        self._is_stopping = False

    def _make_lane(self, description: StreamDescription, session: int, snapshot: Snapshot | None) -> Lane:
        return Lane(
            description, session, self._config, self._bundle,
            reorder_frames=self._settings.reorder_frames, snapshot_bytes=self._settings.snapshot_kb * 1000,
            snapshot=snapshot, large_bytes=self.large_bytes,
        )  # fmt: skip

    async def take(self, message: Any) -> None:
        """Process one message of the samples' topic.

        Parameters
        ----------
        message
            With ``partition``, ``offset``, ``key``, ``value``, ``headers`` and ``time_in``.
        """
        async with self._busy:
            if self._is_stopping:
                return
            partition = self.partitions.get(message.partition)
            if partition is None:
                partition = await self._restore(message.partition, message.offset)
            if message.offset < partition.next_offset:
                self.counts.redelivered += 1
                return
            if message.offset > partition.next_offset and await self._go_back(partition, message.offset):
                return
            begin = self._clock()
            try:
                said = await self._process(partition, message)
            except (WireError, StreamRefused) as error:
                await self._bury(message, error)
                said = []
            said += partition.pass_by(message.offset, self._clock())
            self.counts.frames += 1
            await self._say(said, begin)

    async def _go_back(self, partition: Partition, offset: int) -> bool:
        """Look at a hole in the offsets: once, ask for what is missing; then take what there is."""
        expected = partition.next_offset
        if self._sought.get(partition.number) == expected:
            _log.warning("partition %d: nothing between the offsets %d and %d", partition.number, expected, offset)
            partition.next_offset = offset
            return False
        self._sought[partition.number] = expected
        await self._links.seek(partition.number, expected)
        return True

    async def _process(self, partition: Partition, message: Any) -> list[Said]:
        frame = decode_frame(message.value or b"")
        if (message.key or b"") != frame.stream.encode("utf-8", "replace"):
            raise WireError(f"key must be the frame's stream {frame.stream!r}, got {message.key!r}")
        if not partition.wants(message.offset, frame):
            return []
        said: list[Said] = []
        is_new = partition.is_new(frame)
        if is_new:
            description = await self._links.descriptions.of(frame.stream, frame.session)
            if description is None:
                raise StreamRefused(f"stream must be described before its frames, got none for {frame.stream!r}")
            said += partition.begin(message.offset, frame, description, self._clock())
        await self._sync_markers(partition, frame, is_forced=is_new or frame.last)
        return said + partition.take(message.offset, frame, self._clock())

    async def _sync_markers(self, partition: Partition, frame: Frame, *, is_forced: bool) -> None:
        """Read the markers that the brokers hold, before a stream moves on by more than a moment of its time."""
        feed = self._links.markers
        if feed is None:
            return
        newest = float(frame.timestamps[-1]) if len(frame) else 0.0
        if not is_forced and newest <= self._synced.get(frame.stream, newest) + SYNC_S:
            self._synced.setdefault(frame.stream, newest)
            return
        await self._pull_markers(partition, feed)
        self._synced[frame.stream] = newest
        for mark in feed.waiting(partition.number, frame.stream):
            if not partition.add_marker(mark.stream, mark.session, mark.marker, mark.k):
                feed.keep(partition.number, mark)

    async def _pull_markers(self, partition: Partition, feed: MarkerFeed) -> None:
        """Read what there is of markers; from here on every stream of the partition may go on for a while."""
        for stream in partition.places:
            self._synced.pop(stream, None)
        for mark in await feed.catch_up(partition.number):
            if not partition.add_marker(mark.stream, mark.session, mark.marker, mark.k):
                feed.keep(partition.number, mark)

    async def read_markers(self) -> None:
        """Read the markers of all owned partitions, so that those of a live stream do not wait."""
        feed = self._links.markers
        for partition in list(self.partitions.values()) if feed is not None else ():
            async with self._busy:
                if feed is not None and self.partitions.get(partition.number) is partition:
                    await self._pull_markers(partition, feed)

    async def _say(self, said: list[Said], begin: float) -> None:
        """Send the events of one message."""
        counts = self.counts
        for one in said:
            session = (SESSION_HEADER, str(one.session).encode())
            for event in one.events:
                message = event_message(
                    self._topics, event, stream=one.description.stream,
                    epoch_offset_s=one.description.epoch_offset_s,
                )  # fmt: skip
                await self._links.outbox.send(message._replace(headers=(*message.headers, session)))
                counts.events[event.type] += 1
                if event.type == "prediction":
                    counts.predictions[event.values["label"] if event.values["valid"] else "unknown"] += 1
                    counts.latency.add(max(0.0, self._clock() - begin))

    async def _bury(self, message: Any, error: Exception) -> None:
        """Put a message that cannot be processed aside, with the reason."""
        reason = type(error).__name__
        if not self.counts.dead[reason]:
            _log.warning(
                "the message at %s/%d offset %d goes to %s: %s",
                self._in_topics.samples, message.partition, message.offset, self._topics.dead, error,
            )  # fmt: skip
        self.counts.dead[reason] += 1
        letter = DeadLetter(
            self._in_topics.samples, message.partition, message.offset, message.key or b"", message.value or b"",
            tuple(message.headers or ()), str(error),
        )  # fmt: skip
        await self._links.outbox.send(dead_letter_message(self._topics, letter, self._max_bytes))

    async def _restore(self, number: int, first_seen: int) -> Partition:
        """Take a partition over: its snapshots, its committed offset, its markers."""
        begin = self._clock()
        links = self._links
        stored = await links.changelog.read(number)
        committed = await links.offsets.committed(self._in_topics.samples, number)
        oldest = await links.samples.begin(number)
        start = max(oldest, committed if committed is not None else 0)
        partition = Partition(number, start, self._make_lane, hold_frames=self._settings.hold_frames)
        markers_offset: int | None = None
        for stream, one in stored.items():
            snapshot = one.snapshot
            description = None
            if not snapshot.is_ended:
                description = await links.descriptions.of(stream, snapshot.session)
                if description is None:
                    raise WorkerError(f"stream {stream!r} must be described, got its snapshot alone")
                offset = snapshot.markers_offset
                markers_offset = offset if markers_offset is None else min(markers_offset, offset)
            partition.restore(snapshot, one.offset, description, self._clock())
            await asyncio.sleep(0)
        if links.markers is not None:
            partition.markers_offset = markers_offset or 0
            links.markers.begin(number, partition.markers_offset)
        self.partitions[number] = partition
        self._sought.pop(number, None)
        self.counts.restores += len(stored)
        self.counts.restore_s = self._clock() - begin
        if stored:
            _log.info(
                "partition %d: %d streams restored in %.3f s, from offset %d",
                number, len(stored), self.counts.restore_s, start,
            )  # fmt: skip
        if first_seen < start:
            _log.info("partition %d: messages before offset %d are done", number, start)
        return partition

    @property
    def n_streams(self) -> int:
        """How many streams go on here."""
        return sum(1 for partition in list(self.partitions.values()) for _ in list(partition.lanes))

    @property
    def drift_score(self) -> float | None:
        """The largest score of all monitors, None where none has one."""
        scores = [lane.drift_score for partition in list(self.partitions.values()) for lane in list(partition.lanes)]
        return max((score for score in scores if not math.isnan(score)), default=None)

    async def checkpoint(self) -> None:
        """Keep the state of every stream that moved, and commit what is covered.

        Raises
        ------
        WorkerError
            If the brokers did not take something.
        """
        async with self._saving:
            for partition in list(self.partitions.values()):
                async with self._busy:
                    if self.partitions.get(partition.number) is not partition:
                        continue
                    taken = self._capture(partition)
                    outputs = self._links.outbox.take()
                await self._keep(taken, outputs)

    async def release(self, *, stop: bool = False) -> None:
        """Keep everything and own nothing any more: the partitions go to others, or the worker ends."""
        async with self._saving:
            async with self._busy:
                self._is_stopping = self._is_stopping or stop
                partitions, self.partitions = self.partitions, {}
                takens = [self._capture(partition) for partition in partitions.values()]
                outputs = self._links.outbox.take()
                for number in partitions:
                    if self._links.markers is not None:
                        self._links.markers.end(number)
            for taken in takens:
                await self._keep(taken, outputs)
                outputs = []

    def _capture(self, partition: Partition) -> _Taken:
        """Take the state of the streams that moved; nothing is sent."""
        begin = time.thread_time()
        now = self._clock()
        feed = self._links.markers
        markers_offset = feed.offset(partition.number) if feed is not None else None
        written: list[tuple[Place, Snapshot]] = []
        gone: list[str] = []
        for stream, place in partition.places.items():
            lane = place.lane
            if place.is_ended and place.ended_s is not None and place.stored is not None and place.stored.is_ended:
                place.lane = None  # what it held in memory
                if now >= place.ended_s + self._settings.forget_s:
                    gone.append(stream)
                elif now >= place.written_s + self._settings.refresh_s:
                    place.written_s = now
                    written.append((place, place.stored))
                continue
            if lane is None or not (lane.is_dirty or now >= place.written_s + self._settings.refresh_s):
                continue
            snapshot = lane.snapshot(partition.next_offset, partition.markers_offset)
            if snapshot is None:
                markers_offset = None  # it has markers that no snapshot has
            else:
                lane.is_dirty = False
                place.written_s = now
                written.append((place, snapshot))
        self.counts.snapshot_s += time.thread_time() - begin
        return _Taken(partition, partition.next_offset, written, gone, markers_offset)

    async def _keep(self, taken: _Taken, outputs: list[asyncio.Future[Any]]) -> None:
        """Wait for the outputs, write the snapshots, wait for them, commit, forget."""
        partition, topic = taken.partition, self._links.changelog.topic
        await arrived(outputs)
        floors = [place.stored_at for place in partition.places.values() if place.stored is not None]
        headers = ((FLOOR_HEADER, str(min(floors, default=0)).encode()),) if floors else ()
        waiting: list[asyncio.Future[Any]] = []
        for _, snapshot in taken.written:
            begin = time.thread_time()
            payload = encode_snapshot(snapshot)
            waiting.append(await self._links.outbox.store(topic, partition.number, snapshot.stream, payload, headers))
            self.counts.snapshots += 1
            self.counts.snapshot_bytes += len(payload)
            self.counts.snapshot_s += time.thread_time() - begin
        for (place, snapshot), record in zip(taken.written, await arrived(waiting), strict=True):
            place.stored, place.stored_at = slim(snapshot), int(record.offset)
        if taken.markers_offset is not None:
            partition.markers_offset = taken.markers_offset
        safe = partition.safe_offset(taken.covered)
        if safe != partition.committed and await self._links.commit({partition.number: safe}):
            partition.committed = safe
            self.counts.commits += 1
        for stream in taken.gone:
            place_now = partition.places.get(stream)
            if place_now is not None and place_now.is_ended:
                await self._links.outbox.store(topic, partition.number, stream, None, headers)
                del partition.places[stream]
                self.counts.tombstones += 1
        self._sum_up(partition)

    def _sum_up(self, partition: Partition) -> None:
        """Add what the streams counted."""
        counts = self.counts
        for place in partition.places.values():
            if place.lane is None:
                continue
            lane = place.lane.take_counts()
            counts.samples += lane.samples
            counts.refilled += lane.refilled
            counts.duplicates += lane.duplicates
            counts.lost += lane.lost
            counts.reordered += lane.reordered
            counts.process_s += lane.process_ns * 1e-9
        counts.duplicates += partition.n_late_sessions
        partition.n_late_sessions = 0


def slim(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without its state, which a lane has."""
    return replace(snapshot, arrays={})
