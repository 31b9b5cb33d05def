"""The publisher process: takes what the hot process leaves in the rings and sends it to Kafka.

It may be killed and started again at any time: the rings keep what has not arrived, as far as they reach; what they no
longer hold is counted. It listens to no bell: the hot process does nothing for it, whether it lives or not. Where the
source is on Kafka too, it also sends on what could not be read there.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.naming import published_kinds
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.sinks.kafka.sink import KafkaSink
from neuroloop.stream.bridge.dead_letter_queue import DeadLetterCarrier
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.live.child_process import begin, starting, tell
from neuroloop.stream.live.live_kafka import link_of
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.process_logs import LogKind
from neuroloop.stream.live.publisher_counts import MarkNumbers, PublisherCounts
from neuroloop.stream.live.shared_state import PUBLISHER, Shared, as_event, unpack_event
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.event_reader import EventRingReader
from neuroloop.stream.ring.header import Place
from neuroloop.stream.ring.sample_reader import SampleRingReader
from neuroloop.stream.sources.clock_watch import ClockWatch
from neuroloop.stream.wire.delivery_reports import DeliveryReports
from neuroloop.stream.wire.messages import StreamDescription, description_message, marker_message
from neuroloop.stream.wire.topics import TopicKind, Topics

_PAUSE_S = 0.05
_AT_ONCE_VALUES = 1 << 19
_AT_ONCE_RECORDS = 4096
_FIRST_OFFSET_S = 1.5
_log = logging.getLogger("neuroloop.publisher")


@dataclass(frozen=True)
class PublisherPlan:
    """What the publisher process is told at its start.

    Parameters
    ----------
    settings : KafkaSettings
        With the stream's id.
    source : SourcePlan
    session : int
        The run's, so that a publisher that is started again goes on in it.
    cores : frozenset of int
    marks : CounterBlock
        With `neuroloop.stream.live.publisher_counts.MARK_SPECS`: how far the numbers of the markers are.
    log : str
    """

    settings: KafkaSettings
    source: SourcePlan
    session: int
    cores: frozenset[int]
    marks: CounterBlock
    log: LogKind = "human"


def used_topics(settings: KafkaSettings) -> tuple[TopicKind, ...]:
    """Return the topics that a run needs for what it publishes; samples bring their markers."""
    kinds = published_kinds(settings)
    return (*kinds, "markers") if "samples" in kinds else kinds


def run_publisher(plan: PublisherPlan, shared: Shared, ready: Connection) -> None:
    """Be the publisher process until the hot one has closed its rings and everything is sent."""
    begin(log=plan.log, cores=plan.cores)
    with ExitStack() as stack:
        with starting(ready, ValueError):
            link = link_of(plan.source)
            carrier = DeadLetterCarrier(link, plan.settings) if link is not None else None
            loop = PublisherLoop(plan, shared, stack, carrier) if plan.settings.publish else None
        tell(ready, "ready", {})
        if loop is not None:
            loop.run()
        elif carrier is not None:
            carrier.run()


class PublisherLoop:
    """Rings in, messages out.

    Parameters
    ----------
    plan : PublisherPlan
    shared : Shared
    stack : ExitStack
        Closes what this opens.
    carrier : DeadLetterCarrier, optional
        Sends on what the source could not read.
    """

    def __init__(
        self, plan: PublisherPlan, shared: Shared, stack: ExitStack, carrier: DeadLetterCarrier | None = None
    ) -> None:
        settings = plan.settings
        self._plan = plan
        self._shared = shared
        self._topics = Topics(settings.prefix)
        self._has_samples = "samples" in settings.publish
        self._is_spooled = settings.overflow == "spool"
        self._events: list[EventRingReader] = [shared.events.reader(PUBLISHER)]
        if shared.stimulation is not None:
            self._events.append(shared.stimulation.said.reader(PUBLISHER))
        self._samples: SampleRingReader | None = shared.samples.reader(PUBLISHER) if self._has_samples else None
        self._reports = DeliveryReports(self._topics, plan.session)
        self._producer = Producer(settings, used_topics(settings), on_report=self._reports)
        stack.callback(self._producer.close)
        self._clock = ClockWatch(plan.source.open_clock)
        stack.callback(self._clock.close)
        self._clock.start()
        self._counts = PublisherCounts(shared, self._producer, self._reports, self._topics.samples)
        self._sink: KafkaSink | None = None
        self._described: float | None = None
        self._carrier = carrier
        self._marks = MarkNumbers(plan.marks.numbers("marks"), self._events[0].place)
        self._dealt: _Dealt | None = None
        self._begun = time.perf_counter()
        self._at_once = max(1, _AT_ONCE_VALUES // plan.source.info.n_channels)

    def run(self) -> None:
        """Publish until the rings are closed."""
        while True:
            is_over = all(reader.is_ended for reader in self._readers())
            if self._open_sink(is_over=is_over) is not None:
                self._commit()
                self._drain()
            if self._carrier is not None:
                self._carrier.drain()
            self._count()
            if is_over:
                break
            time.sleep(_PAUSE_S)
        if self._sink is not None:
            self._sink.close()
        self._producer.close()
        for reader in self._readers():
            reader.commit()
        self._count()
        if self._carrier is not None:
            self._carrier.close()

    def _readers(self) -> list[EventRingReader | SampleRingReader]:
        """Return all ends of rings."""
        return [*self._events, *([] if self._samples is None else [self._samples])]

    def _open_sink(self, *, is_over: bool) -> KafkaSink | None:
        """Begin when the sender's clock is known, or does not answer; the rings hold what comes meanwhile."""
        offset = self._epoch_offset_s()
        is_known = offset is not None or self._plan.source.is_played
        if self._sink is None and (is_known or is_over or time.perf_counter() - self._begun >= _FIRST_OFFSET_S):
            self._sink = KafkaSink(
                self._plan.settings,
                self._plan.source.info,
                epoch_offset_s=offset,
                producer=self._producer,
                session=self._plan.session,
            )
            self._described = offset
        if self._sink is not None:
            self._sink.epoch_offset_s = offset
            if self._described is None and offset is not None and self._has_samples:
                self._described = offset
                description = StreamDescription(self._sink.stream, self._plan.source.info, self._plan.session, offset)
                self._producer.offer(description_message(self._topics, description))
        return self._sink

    def _epoch_offset_s(self) -> float | None:
        """Return what turns stamps into seconds since 1970."""
        offset = self._clock.offset_s
        return None if offset is None else offset + (time.time() - time.perf_counter())

    def _drain(self) -> None:
        """Take what the rings hold and offer it; markers go before the rows that they came with."""
        sink = self._sink
        if sink is None:
            return
        for reader in self._events:
            while True:
                batch = reader.read(_AT_ONCE_RECORDS)
                self._counts.lost_events(batch.n_lost)
                if batch.n_lost:
                    self._marks.skip()
                if not batch.records:
                    break
                events = [as_event(unpack_event(record)) for record in batch.records]
                self._offer_markers(events)
                sink.write(events)
        samples = self._samples
        while samples is not None:
            rows = samples.read(self._at_once)
            self._counts.lost_rows(rows.n_lost)
            if not len(rows.chunk):
                break
            sink.write_chunk("input", rows.chunk)
        if sink.n_pending == 0:
            self._dealt = _Dealt(
                tuple(reader.place for reader in self._events),
                None if samples is None else samples.place,
                self._marks.next,
            )

    def _offer_markers(self, events: Sequence[Event]) -> None:
        """Send the markers themselves, for whoever runs a pipeline on the samples."""
        if not self._has_samples or self._sink is None:
            return
        for event in events:
            if event.type == "marker":
                values = event.values
                time_s = math.nan if values["marker_time"] is None else float(values["marker_time"])
                marker = Marker(time_s, values["label"], values["marker_stream"])
                k = self._marks.take()
                if not math.isfinite(time_s):  # no reader could place it
                    _log.warning("a marker without a time is not published: %r", marker.label)
                    continue
                message = marker_message(
                    self._topics,
                    marker,
                    stream=self._sink.stream,
                    k=k,
                    session=self._plan.session,
                    epoch_offset_s=self._sink.epoch_offset_s,
                )
                self._producer.offer(message)

    def _commit(self) -> None:
        """Say that what was offered in the last round is dealt with: it has arrived, or is safe on the disk."""
        if self._dealt is None or not (self._is_spooled or self._producer.books().waiting == 0):
            return
        self._marks.keep(self._dealt.events[0], self._dealt.next_mark)
        for reader, place in zip(self._events, self._dealt.events, strict=True):
            reader.commit(place)
        if self._samples is not None and self._dealt.samples is not None:
            self._samples.commit(self._dealt.samples)
        self._dealt = None

    def _count(self) -> None:
        unsendable = sum(self._sink.unsendable.values()) if self._sink is not None else 0
        self._counts.update(unsendable)


@dataclass(frozen=True)
class _Dealt:
    """Where reading stands when nothing is half offered."""

    events: tuple[Place, ...]
    samples: Place | None
    next_mark: int
