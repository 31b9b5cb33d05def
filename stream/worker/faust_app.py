"""The Faust application: group membership, the agent over the samples, the producer, a clean end.

What Faust is used for, and what not: the group, its rebalances, fetching and sending are Faust's. Its tables are not
used. A table's changes are sent when they are made or when the offset is committed, and a record that the brokers
refuse is logged and forgotten; and a change survives the worker although the message that caused it is processed again.
A snapshot must be acknowledged before the offset it covers is committed, so snapshots go to a changelog topic through
Faust's producer, one awaited future each, and messages are not acknowledged one by one: the offset that is committed
is the oldest that any snapshot of the partition needs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.tree import Config
from neuroloop.config.worker import WorkerSettings
from neuroloop.models.bundle import Bundle
from neuroloop.stream.wire.client_arguments import faust_arguments
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.changelog import Changelog, Prepared, changelog_topic
from neuroloop.stream.worker.clients import Clients
from neuroloop.stream.worker.control import Control, Place, control_topic
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.descriptions import LOOK_S, Descriptions
from neuroloop.stream.worker.errors import WorkerError, words
from neuroloop.stream.worker.marker_feed import MarkerFeed
from neuroloop.stream.worker.outbox import Outbox
from neuroloop.stream.worker.readers import GroupOffsets, TopicReader
from neuroloop.stream.worker.runtime import WorkerRuntime

_log = logging.getLogger("neuroloop.worker")
_LIBRARIES = ("faust", "mode", "aiokafka")
_LEAVE_S = 8.0
_MARKERS_S = 1.0
_REACH_S = 2.0
_JOIN_S = 60.0


def make_app(kafka: KafkaSettings, settings: WorkerSettings, group: str, folder: Path) -> Any:
    """Return a Faust application that commits nothing by itself, opens no port and makes no topic.

    Parameters
    ----------
    kafka : KafkaSettings
    settings : WorkerSettings
    group : str
        Also the application's id.
    folder : Path
        Where Faust may put its files; it has none.
    """
    return faust.App(
        group,
        **faust_arguments(kafka),
        broker_session_timeout=kafka.session_s,
        broker_heartbeat_interval=max(0.5, kafka.session_s / 6),
        broker_rebalance_timeout=settings.rebalance_s,
        broker_request_timeout=max(90.0, kafka.session_s + 1),
        broker_commit_livelock_soft_timeout=3600.0,
        stream_processing_timeout=3600.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=max(1_048_576, 2 * kafka.max_message_bytes),
        producer_max_request_size=max(
            1_048_576, settings.snapshot_kb * 1000 + 64 * 1024, kafka.max_message_bytes + 16_384
        ),
        producer_compression_type=None if kafka.compression == "none" else kafka.compression,
        producer_acks=-1,
        producer_linger=0.0,
        producer_request_timeout=settings.delivery_s,
        stream_buffer_maxsize=settings.buffer_frames,
        stream_wait_empty=False,
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        store="memory://",
        datadir=str(folder),
    )


def _at(message: Any, error: Exception) -> Exception:
    """Say at which message a worker ended, where the error is not one that says by itself what is to be done."""
    if isinstance(error, (NeuroloopError, KafkaError)):
        return error
    place = Place(message.topic, message.partition, message.offset)
    _log.error("the message at %s ends this worker", place, exc_info=error)
    cure = f"with `--skip {place} --reason WHY` the group passes it by"
    failed = WorkerError(f"message at {place} must be processed, got {words(error)}: {cure}")
    failed.__cause__ = error
    return failed


class _Retries(logging.Handler):
    """Counts what the client says of brokers that do not answer, and keeps it off the terminal."""

    def __init__(self, counts: WorkerCounts) -> None:
        super().__init__(logging.WARNING)
        self._counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        """Count one warning."""
        self._counts.retries += 1


def quiet_libraries(counts: WorkerCounts) -> None:
    """Count the libraries' warnings; what ends the worker is said by itself, in one line."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [_Retries(counts)]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


@dataclass
class FaustApp:
    """A member of the group that can be run.

    Parameters
    ----------
    config : Config
        With ``kafka``.
    settings : WorkerSettings
    group : str
    bundle : Bundle, optional
    prepared : Prepared
        What the topics are.
    counts : WorkerCounts
    """

    config: Config
    settings: WorkerSettings
    group: str
    bundle: Bundle | None
    prepared: Prepared
    counts: WorkerCounts

    def __post_init__(self) -> None:
        self.runtime: WorkerRuntime | None = None
        self.app: Any = None
        self._failure: asyncio.Future[None] | None = None
        self._ends: Mapping[Any, int] = {}
        self._is_leaving = False
        self._looks_alone = 0
        self.is_ready = False
        """Whether the group has let it in and has given it its share, of which there may be none."""
        self.is_stuck = False
        """Whether the library did not end; all state is kept, only its threads are still there."""

    @property
    def has_failed(self) -> bool:
        """Whether the worker is about to end because something went wrong."""
        return self._failure is not None and self._failure.done()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then keep everything and leave the group.

        Raises
        ------
        NeuroloopError
            If the worker cannot go on.
        """
        kafka = self.config.kafka
        if kafka is None:
            raise ValueError("config.kafka must be given, got None")
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        told = asyncio.Event()
        threading.excepthook = self._thread_failed
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        with tempfile.TemporaryDirectory(prefix="neuroloop-worker-") as folder:
            self.app = make_app(kafka, self.settings, self.group, Path(folder))
            quiet_libraries(self.counts)
            topics = Topics(kafka.prefix)
            names = (
                topics.samples, topics.streams, topics.markers, changelog_topic(self.group), control_topic(self.group),
            )  # fmt: skip
            patience_s = self.settings.delivery_s
            readers = {name: TopicReader(kafka, name, patience_s=patience_s) for name in names}
            offsets = GroupOffsets(kafka, self.group, patience_s=patience_s)
            clients = Clients(
                outbox=Outbox(self.app, self.settings.pending_events),
                samples=readers[topics.samples],
                offsets=offsets,
                changelog=Changelog(readers[changelog_topic(self.group)]),
                descriptions=Descriptions(readers[topics.streams], describe_s=self.settings.describe_s),
                markers=MarkerFeed(readers[topics.markers], self.counts) if self.prepared.has_markers else None,
                control=Control(readers[control_topic(self.group)]),
                seek=self._seek(topics.samples),
                commit=self._commit(topics.samples),
                owns=self._owns,
            )
            self.runtime = WorkerRuntime(
                self.config, self.settings, self.bundle, clients, self.counts,
                n_partitions=self.prepared.n_partitions,
            )  # fmt: skip
            self._listen(topics.samples)
            await offsets.start()
            regular = [
                asyncio.ensure_future(self._regularly(self.runtime.checkpoint, self.settings.snapshot_s)),
                asyncio.ensure_future(self._regularly(self.runtime.read_markers, _MARKERS_S)),
                asyncio.ensure_future(self._regularly(self.runtime.look_for_descriptions, LOOK_S)),
                asyncio.ensure_future(self._regularly(self._watch(offsets, readers[topics.samples]), _REACH_S)),
            ]
            start = asyncio.ensure_future(self._guarded(self._start()))
            try:
                await self._until_the_end(told)
            finally:
                for task in (*regular, start):
                    task.cancel()
                await self._leave()
                await offsets.stop()
                for one in readers.values():
                    await one.stop()

    def _watch(self, offsets: GroupOffsets, samples: TopicReader) -> Callable[[], Awaitable[None]]:
        """Return what looks around: whether brokers answer, partitions are as many as before, the group lets us in."""
        kafka, runtime = self.config.kafka, self.runtime
        session_s = kafka.session_s if kafka is not None else 0.0
        limit_s = max(_JOIN_S, 3 * (session_s + self.settings.rebalance_s))

        async def look() -> None:
            await samples.reach()
            if runtime is not None:
                runtime.check_partitions(await offsets.n_partitions(samples.topic))
            self._looks_alone = 0 if self.is_ready else self._looks_alone + 1
            if self._looks_alone * _REACH_S >= limit_s:  # of brokers that answer: others are waited for in `reach`
                rule = f"let this worker in within {limit_s:g} s"
                cure = "its user must be allowed to READ it, and all members must be alive"
                raise WorkerError(f"group {self.group} must {rule}, got no partitions: {cure}")

        return look

    async def _start(self) -> None:
        """Join the group; returns when the first share has come."""
        await self.app.start()
        self._ends = self.app.monitor.tp_end_offsets  # made here: the library ties it to this thread's loop
        _log.info("worker of group %s is up", self.group)

    def _listen(self, samples: str) -> None:
        """Put the agent on the samples' topic, and hear of rebalances."""
        runtime, app = self.runtime, self.app
        if runtime is None:
            raise RuntimeError("runtime must be made before it is listened for")
        topic = app.topic(
            samples, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
            acks=False, allow_empty=True,
        )  # fmt: skip

        async def worker(stream: Any) -> None:
            """Hand each message to the runtime."""
            async for event in stream.noack().events():
                await self._guarded(runtime.take(event.message), event.message)

        app.agent(topic, name="neuroloop.worker")(worker)

        async def on_revoked(*arguments: Any, **options: Any) -> None:
            self.is_ready = False
            await self._guarded(runtime.release())

        async def on_assigned(*arguments: Any, **options: Any) -> None:
            self.counts.rebalances += 1
            self.is_ready = True

        app.on_partitions_revoked.connect(on_revoked, weak=False)
        app.on_partitions_assigned.connect(on_assigned, weak=False)

    async def _guarded(self, work: Awaitable[None], message: Any = None) -> None:
        """Do a part of the work; what goes wrong ends the worker, not the library's task alone."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (it is raised by `_until_the_end`)
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error if message is None else _at(message, error))
            await asyncio.sleep(3600.0)  # nothing more is taken

    async def _regularly(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Do a part of the work again and again."""
        while True:
            await asyncio.sleep(every_s)
            await self._guarded(work())

    async def _until_the_end(self, told: asyncio.Event) -> None:
        """Wait until the worker is told to end, fails, or Faust does."""
        failure = self._failure
        until = [asyncio.ensure_future(told.wait()), asyncio.ensure_future(self._faust_failed())]
        ends: set[asyncio.Future[Any]] = {*until, *([failure] if failure is not None else [])}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in until:
                one.cancel()
        if failure is not None and failure.done():
            failure.result()
        if self.app.crashed:
            reason = self.app.crash_reason
            raise WorkerError(f"the group's client must go on, got {type(reason).__name__}: {reason}")
        if self.runtime is not None:
            _log.info("told to end: keeping %d partitions", len(self.runtime.partitions))
            try:
                await asyncio.wait_for(self.runtime.release(stop=True), self.settings.stop_s)
            except TimeoutError as error:
                raise WorkerError(
                    f"worker.stop_s must be enough to keep the state, got {self.settings.stop_s:g} s: brokers away?"
                ) from error

    async def _faust_failed(self) -> None:
        while not self.app.crashed:
            await asyncio.sleep(0.2)

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        """Take what went wrong in a thread of the library; at the end, with brokers away, it is of no interest."""
        self.counts.retries += 1
        failure = self._failure
        if self._is_leaving or failure is None:
            return
        error = WorkerError(f"the client's threads must go on, got {failed.exc_type.__name__}: {failed.exc_value}")

        def end() -> None:
            if not failure.done():
                failure.set_exception(error)

        failure.get_loop().call_soon_threadsafe(end)

    async def _leave(self) -> None:
        """Leave the group, so that others need not wait until it is noticed."""
        self._is_leaving = True
        try:
            await asyncio.wait_for(self.app.stop(), _LEAVE_S)
        except TimeoutError:
            _log.warning("the brokers were not told that this worker leaves; they will notice")
            self.is_stuck = True

    def _owns(self, message: Any) -> bool:
        """Whether a message is of the share that counts now, and no new one is being made."""
        app = self.app
        return bool(app.flow_control.is_active() and message.generation_id == app.consumer_generation_id)

    def _seek(self, samples: str) -> Callable[[int, int], Awaitable[None]]:
        async def seek(partition: int, offset: int) -> None:
            await self.app.consumer.seek(TP(samples, partition), offset)

        return seek

    def _commit(self, samples: str) -> Callable[[Mapping[int, int]], Awaitable[bool]]:
        async def commit(offsets: Mapping[int, int]) -> bool:
            places = {TP(samples, partition): offset for partition, offset in offsets.items()}
            return bool(await self.app.consumer._commit(places))

        return commit

    def lag(self) -> dict[int, int]:
        """Return how many messages of each owned partition are not processed yet, as far as the client knows.

        May be asked from any thread.
        """
        runtime, kafka = self.runtime, self.config.kafka
        if runtime is None or kafka is None:
            return {}
        samples = Topics(kafka.prefix).samples
        return {
            number: max(0, int(self._ends.get(TP(samples, number), partition.next_offset)) - partition.next_offset)
            for number, partition in dict(runtime.partitions).items()
        }
