"""The worker itself: messages in, events out, snapshots kept, offsets committed, in this order and no other.

Why in this order says `neuroloop.stream.worker.checkpoint`, step by step.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from neuroloop.config.errors import WireError
from neuroloop.config.tree import Config
from neuroloop.config.worker import WorkerSettings
from neuroloop.models.bundle import Bundle
from neuroloop.stream.wire.dead_letters import dead_letter_message, dead_letter_of
from neuroloop.stream.wire.frames import Frame, decode_frame
from neuroloop.stream.wire.messages import StreamDescription, event_message, utf8
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.changelog import moved
from neuroloop.stream.worker.checkpoint import Checkpoints
from neuroloop.stream.worker.clients import Clients
from neuroloop.stream.worker.control import Place
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.errors import StreamRefused, WorkerError
from neuroloop.stream.worker.marker_feed import SYNC_S, MarkerFeed
from neuroloop.stream.worker.partition import Partition, Route, StreamEvents
from neuroloop.stream.worker.said_once import SaidOnce
from neuroloop.stream.worker.snapshot import Snapshot
from neuroloop.stream.worker.snapshot_state import LARGE_BYTES, without_state
from neuroloop.stream.worker.stream_session import StreamSession
from neuroloop.stream.worker.undescribed import Waiting

_log = logging.getLogger("neuroloop.worker")
_UNDESCRIBED = "stream must be described before its frames, got none for {!r}"
SESSION_HEADER = "neuroloop-session"


class WorkerRuntime:
    """Process the messages of the owned partitions.

    Parameters
    ----------
    config : Config
        With ``kafka`` and ``worker``.
    settings : WorkerSettings
    bundle : Bundle, optional
    clients : Clients
    counts : WorkerCounts
    n_partitions : int, optional
        How many the samples had at the start; none that came later is begun with.
    clock : callable
        Seconds that only go on.

    Attributes
    ----------
    large_bytes : int
        As `neuroloop.stream.worker.snapshot_state.SnapshotState` takes it.
    """

    def __init__(
        self,
        config: Config,
        settings: WorkerSettings,
        bundle: Bundle | None,
        clients: Clients,
        counts: WorkerCounts,
        *,
        n_partitions: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.kafka is None:
            raise ValueError("config.kafka must be given, got None")
        self._config = config
        self._settings = settings
        self._bundle = bundle
        self._clients = clients
        self._clock = clock
        self._n_partitions = n_partitions
        self._max_bytes = config.kafka.max_message_bytes
        self.counts = counts
        self.large_bytes = LARGE_BYTES
        self._in_topics = Topics(config.kafka.prefix)
        self._topics = Topics(settings.output_prefix or config.kafka.prefix)
        self.partitions: dict[int, Partition] = {}
        self._busy = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._checkpoints = Checkpoints(clients, settings, counts, clock=clock)
        self._sought: dict[int, tuple[int, int]] = {}
        self._synced: dict[str, float] = {}
        self._is_stopping = False
        self._said = SaidOnce()

    def _make_session(self, description: StreamDescription, session: int, snapshot: Snapshot | None) -> StreamSession:
        return StreamSession(
            description, session, self._config, self._bundle,
            reorder_frames=self._settings.reorder_frames, snapshot_bytes=self._settings.snapshot_kb * 1000,
            snapshot=snapshot, large_bytes=self.large_bytes,
        )  # fmt: skip

    async def take(self, message: Any) -> None:
        """Process one message of the samples' topic.

        Parameters
        ----------
        message
            With ``partition``, ``offset``, ``key``, ``value`` and ``headers``.
        """
        async with self._busy:
            if self._is_stopping or not self._clients.owns(message):
                return  # the next owner reads it again, and so does this worker if the partition stays
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
                is_skipped = self._clients.control.has_skips and self._is_skipped(message)
                outcome = [] if is_skipped else await self._process(partition, message, begin)
            except (WireError, StreamRefused) as error:
                await self._bury(message, error)
                outcome = []
            if self._clients.markers is not None and partition.gives_up(message.offset):
                await self._sync_markers(self._clients.markers)
            outcome += partition.pass_by(message.offset, begin)
            self.counts.frames += 1
            if outcome:
                await self._say(outcome, begin)

    def _is_skipped(self, message: Any) -> bool:
        """Whether an operator has had a message passed by; it is on the dead letters already."""
        topic = self._in_topics.samples
        record = self._clients.control.skipped(topic, message.partition, message.offset)
        if record is not None:
            place = Place(topic, message.partition, message.offset)
            self.counts.dead["Skipped"] += 1
            _log.warning("the message at %s is passed by: %s says %r", place, record.get("by"), record.get("reason"))
        return record is not None

    async def _go_back(self, partition: Partition, offset: int) -> bool:
        """Look at a hole in the offsets: ask for what is missing, until the same message comes first again.

        Messages that were under way when it was asked come before what it brings.
        """
        hole = (partition.next_offset, offset)
        if self._sought.get(partition.number) == hole:
            _log.warning("partition %d: nothing between the offsets %d and %d", partition.number, *hole)
            partition.next_offset = offset
            return False
        begin, end = self._sought.get(partition.number, hole)
        self._sought[partition.number] = hole if begin != hole[0] else (begin, min(end, offset))
        await self._clients.seek(partition.number, partition.next_offset)
        return True

    async def _process(self, partition: Partition, message: Any, now_s: float) -> list[StreamEvents]:
        frame = decode_frame(message.value or b"")
        if (message.key or b"") != utf8(frame.stream):
            raise WireError(f"key must be the frame's stream {frame.stream!r}, got {message.key!r}")
        outcome: list[StreamEvents] = []
        if frame.stream in partition.undescribed:
            partition.undescribed.add(Waiting(message, frame, now_s))
        else:
            outcome = await self._process_frame(partition, message, frame, now_s, since_s=now_s)
        if frame.stream in partition.undescribed:
            await self._bound_waiting(now_s)
        return outcome

    async def _process_frame(
        self, partition: Partition, message: Any, frame: Frame, now_s: float, *, since_s: float
    ) -> list[StreamEvents]:
        """Process a frame whose turn it is, or let it wait for the description of its stream."""
        feed = self._clients.markers
        route = partition.route(message.offset, frame)
        if route is Route.LEFT_OUT:
            over = partition.why_over(message.offset, frame)
            if over and self._said.is_first(message.key or b"", over):
                _log.warning("stream %r: %s; they are left out and counted", frame.stream, over)
            return []
        outcome: list[StreamEvents] = []
        begun: StreamSession | None = None
        if route is Route.BEGINS:
            description = await self._description_for(frame, since_s, now_s)
            if description is None:
                partition.undescribed.add(Waiting(message, frame, since_s))
                return []
            begun = partition.new_session(description, frame)
        if feed is not None and (route is not Route.GOES_ON or self._must_sync(frame)):
            await self._sync_markers(feed)
        if begun is not None:
            outcome += partition.begin(message.offset, begun, now_s)
            if feed is not None:
                feed.hand_over(partition, frame.stream)
        try:
            outcome += partition.take(message.offset, frame, now_s)
        except StreamRefused as error:  # what the session before had left to say is said all the same
            await self._bury(message, error)
        else:
            if partition.is_in_trouble:
                refused = partition.refusal_of(frame.stream)
                await (self._bury(message, StreamRefused(refused)) if refused else self._note_indices(message, frame))
        return outcome

    async def _description_for(self, frame: Frame, since_s: float, now_s: float) -> StreamDescription | None:
        """Return what describes a frame's session; None while it is waited for."""
        descriptions, stream, session = self._clients.descriptions, frame.stream, frame.session
        found = await descriptions.look(stream, session)
        if found is None and now_s >= since_s + self._settings.describe_s:
            descriptions.give_up(stream, session, _UNDESCRIBED.format(stream))
        why = "" if found is not None else descriptions.why_none(stream, session)
        if why:
            raise StreamRefused(why)
        return found

    async def _bound_waiting(self, now_s: float) -> None:
        """Give up streams without a description, the one that waits longest first, while their frames are too many."""
        limit = self._settings.undescribed_mb * 1e6
        while sum(partition.undescribed.n_bytes for partition in self.partitions.values()) > limit:
            heads = [(one.since_s, one.message.offset, number, stream) for number, partition in self.partitions.items()
                     for stream, one in partition.undescribed]  # fmt: skip
            _, _, number, stream = min(heads)
            await self._go_on(self.partitions[number], stream, now_s, gives_up=True)

    async def look_for_descriptions(self) -> None:
        """Go on with streams whose description has come meanwhile, or has been waited for for too long.

        Messages do not wait while the brokers are asked.
        """
        if not any(len(partition.undescribed) for partition in self.partitions.values()):
            return
        descriptions = self._clients.descriptions
        await descriptions.catch_up()
        async with self._busy:
            now_s = self._clock()
            for partition in list(self.partitions.values()):
                for stream, one in partition.undescribed:
                    is_late = now_s >= one.since_s + self._settings.describe_s
                    session = one.frame.session
                    if is_late or descriptions.find(stream, session) or descriptions.why_none(stream, session):
                        await self._go_on(partition, stream, now_s)

    async def _go_on(self, partition: Partition, stream: str, now_s: float, *, gives_up: bool = False) -> None:
        """Process the frames of a stream that have waited, each as it would have been at its own offset."""
        waiting = partition.undescribed.take(stream)
        if gives_up:
            why = (
                f"{_UNDESCRIBED.format(stream)} before more than {self._settings.undescribed_mb:g} MB of frames waited"
            )
            self._clients.descriptions.give_up(stream, waiting[0].frame.session, why)
        at = 0
        for index, one in enumerate(waiting):
            offset = one.message.offset
            await self._say(await self._give_up_until(partition, stream, at, offset, now_s), now_s)
            try:
                outcome = await self._process_frame(partition, one.message, one.frame, now_s, since_s=one.since_s)
            except (WireError, StreamRefused) as error:
                await self._bury(one.message, error)
                outcome = []
            await self._say(outcome, one.since_s)
            if stream in partition.undescribed:  # another session of it is not described yet
                for later in waiting[index + 1 :]:
                    partition.undescribed.add(later)
                return
            at = offset
        await self._say(await self._give_up_until(partition, stream, at, partition.next_offset, now_s), now_s)

    async def _give_up_until(
        self, partition: Partition, stream: str, at: int, until: int, now_s: float
    ) -> list[StreamEvents]:
        """Give up, for one stream, what has waited for too many of the messages between two offsets."""
        outcome: list[StreamEvents] = []
        while (offset := partition.next_give_up(stream, at, until)) is not None:
            if self._clients.markers is not None:
                await self._sync_markers(self._clients.markers)
            outcome += partition.give_up(stream, now_s)
            at = offset + 1
        return outcome

    async def _note_indices(self, message: Any, frame: Frame) -> None:
        """Put the first frame aside whose new rows have indices that were used; the others are counted."""
        why = f"first_sample must go on with the rows, not begin anew or count frames, in session {frame.session}"
        if self._said.is_first(message.key or b"", f"indices {why}"):
            more = "this and all later frames like it are left out where they overlap, and counted"
            await self._bury(message, StreamRefused(f"{why}, got {frame.first_sample}: {more}"))

    def _must_sync(self, frame: Frame) -> bool:
        """Whether a stream is about to move on by more than a moment of its time without a look at the markers."""
        if not len(frame):
            return False
        since = self._synced.setdefault(frame.stream, frame.timestamps.item(0))
        return not abs(frame.timestamps.item(-1) - since) <= SYNC_S  # also where a stamp is no number

    async def _sync_markers(self, feed: MarkerFeed) -> None:
        """Read the markers that the brokers hold; from here on every stream may go on for a while."""
        self._synced.clear()
        await feed.catch_up(self.partitions, await feed.behind())

    async def read_markers(self) -> None:
        """Read the markers of all owned partitions, so that those of a live stream do not wait.

        Messages wait only where there are markers to read, not while the brokers are asked for them.
        """
        feed = self._clients.markers
        behind = await feed.behind() if feed is not None else {}
        if feed is not None and behind:
            async with self._busy:
                await feed.catch_up(self.partitions, behind)

    async def _say(self, outcome: list[StreamEvents], begin: float) -> None:
        """Send the events of one message."""
        counts = self.counts
        for one in outcome:
            session = (SESSION_HEADER, str(one.session).encode())
            for event in one.events:
                message = event_message(
                    self._topics, event, session=one.session, stream=one.description.stream,
                    epoch_offset_s=one.description.epoch_offset_s,
                )  # fmt: skip
                await self._clients.outbox.send(message._replace(headers=(*message.headers, session)))
                counts.events[event.type] += 1
                if event.type == "prediction":
                    counts.predictions[event.values["label"] if event.values["valid"] else "unknown"] += 1
                    counts.latency.add(max(0.0, self._clock() - begin))

    async def _bury(self, message: Any, error: Exception) -> None:
        """Put a message that cannot be processed aside, with the reason."""
        reason = type(error).__name__
        if self._said.is_first(message.key or b"", f"{reason} {error}"):
            _log.warning(
                "the message at %s/%d offset %d goes to %s: %s",
                self._in_topics.samples, message.partition, message.offset, self._topics.dead, error,
            )  # fmt: skip
        self.counts.dead[reason] += 1
        letter = dead_letter_of(message, str(error), topic=self._in_topics.samples)
        await self._clients.outbox.send(dead_letter_message(self._topics, letter, self._max_bytes))

    def check_partitions(self, n_partitions: int) -> None:
        """Refuse partitions that were added since the start.

        Raises
        ------
        WorkerError
            Before a stream that has moved is taken for a new one.
        """
        if self._n_partitions is not None and n_partitions > self._n_partitions:
            raise WorkerError(
                moved(self._clients.changelog.topic, self._in_topics.samples, n_partitions, self._n_partitions)
            )

    async def _restore(self, number: int, first_seen: int) -> Partition:
        """Take a partition over: its snapshots, its committed offset, its markers."""
        begin = self._clock()
        clients = self._clients
        self.check_partitions(number + 1)
        await clients.control.catch_up()
        stored = await clients.changelog.read(number)
        committed = await clients.offsets.committed(self._in_topics.samples, number)
        oldest = await clients.samples.begin(number)
        start = max(oldest, committed if committed is not None else 0)
        partition = Partition(number, start, self._make_session, hold_frames=self._settings.hold_frames)
        markers_offset: int | None = None
        for stream, one in stored.items():
            snapshot = one.snapshot
            description = None
            if not snapshot.is_ended:
                description = await clients.descriptions.of(stream, snapshot.session)
                if description is None and clients.descriptions.is_removed(stream):
                    _log.warning("stream %s was removed: what is kept of it is given up", stream)
                    continue
                if description is None:
                    cure = "describe it again, or send an empty message with its key to give it up"
                    where = f"described on {self._in_topics.streams}"
                    raise WorkerError(f"stream {stream!r} must be {where}, got its snapshot alone: {cure}")
                offset = snapshot.markers_offset
                markers_offset = offset if markers_offset is None else min(markers_offset, offset)
                if snapshot.row < snapshot.live_row and snapshot.resume_offset < start:
                    _log.warning("stream %s begins anew: the messages that fill its windows are gone by", stream)
                    snapshot = without_state(snapshot)
            partition.restore(snapshot, one.offset, description, self._clock())
            await asyncio.sleep(0)
        if clients.markers is not None:
            partition.markers_offset = markers_offset or 0
            clients.markers.begin(number, partition.markers_offset)
        self.partitions[number] = partition
        if clients.markers is not None:
            await self._sync_markers(clients.markers)
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
        return sum(1 for partition in list(self.partitions.values()) for _ in list(partition.sessions))

    @property
    def drift_score(self) -> float | None:
        """The largest score of all monitors, None where none has one."""
        scores = [
            stream_session.drift_score
            for partition in list(self.partitions.values())
            for stream_session in list(partition.sessions)
        ]
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
                    taken = self._checkpoints.take_state(partition)
                    outputs = self._clients.outbox.take()
                await self._checkpoints.keep(taken, outputs)

    async def release(self, *, stop: bool = False) -> None:
        """Keep everything and own nothing any more: the partitions go to others, or the worker ends."""
        async with self._saving:
            async with self._busy:
                self._is_stopping = self._is_stopping or stop
                partitions, self.partitions = self.partitions, {}
                takens = [self._checkpoints.take_state(partition) for partition in partitions.values()]
                outputs = self._clients.outbox.take()
                self._synced.clear()
                for number in partitions:
                    if self._clients.markers is not None:
                        self._clients.markers.end(number)
            for taken in takens:
                await self._checkpoints.keep(taken, outputs)
                outputs = []
