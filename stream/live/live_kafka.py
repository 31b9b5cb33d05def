"""A live source on Kafka: found by the supervisor, opened by the hot process."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass

from neuroloop.config.errors import BrokerError, ConfigError, StreamLost
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.live import MarkerSettings
from neuroloop.config.tree import Config
from neuroloop.sinks.metrics.kafka import KafkaSourceMetrics
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.sources.kafka.discovery import find_stream
from neuroloop.stream.sources.kafka.kafka_state import REASONS, SourceLink
from neuroloop.stream.sources.kafka.markers import KafkaMarkers
from neuroloop.stream.sources.kafka.ordering import COUNTS
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.sources.units import assume_unit
from neuroloop.stream.wire.messages import StreamDescription

_log = logging.getLogger("neuroloop.source")
_SILENT_S = 1.0
"""How long the brokers may give no answer before the stream counts as lost."""
_AGAIN_S = 300.0
_RESOLVE_S = 5.0
_TOPIC_S = 1.0
_REPORT_S = 0.2


class LiveKafka:
    """A `KafkaSource` that says when its brokers do not answer, and goes on when they are back.

    The client finds the brokers again by itself, at the row after the last one. A producer that is silent is not a
    lost stream: brokers that answer are.

    Parameters
    ----------
    source : KafkaSource
    link : SourceLink
        Where others learn what does not get through.
    """

    def __init__(self, source: KafkaSource, link: SourceLink) -> None:
        self._source = source
        self._link = link
        self._next: RawBlock | None = None
        self._reported_at = 0.0
        self._is_closed = False
        link.begin()

    @property
    def info(self) -> StreamInfo:
        """The stream as its producer describes it."""
        return self._source.info

    def read(self, timeout_s: float) -> RawBlock | None:
        """Return the next rows; as `KafkaSource.read`."""
        waiting, self._next = self._next, None
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_S:
            self._reported_at = now
            self._link.tell(self._source)
        return self._source.read(timeout_s) if waiting is None else waiting

    def reopen(self, timeout_s: float) -> None:
        """Wait, at most so long, for the brokers.

        Raises
        ------
        StreamLost
            If they are still silent.
        """
        self._next = self._source.read(timeout_s)

    def close(self) -> None:
        """End the connection and say what was not used; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        unused = Counter(self._source.counts) + Counter(
            {f"unreadable ({reason})": n for reason, n in self._source.unreadable.items()}
        )
        if unused:
            _log.info("source: %s", ", ".join(f"{count} {reason}" for reason, count in sorted(unused.items())))
        self._link.tell(self._source)
        self._link.end()
        self._source.close()


class KafkaClock:
    """The producer's statement of what turns stamps into seconds since 1970, read again now and then.

    Parameters
    ----------
    settings : KafkaSettings
    stream : str
    epoch_offset_s : float
        What the description said last.
    """

    def __init__(self, settings: KafkaSettings, stream: str, epoch_offset_s: float) -> None:
        self._settings = settings
        self._stream = stream
        self._epoch_offset_s = epoch_offset_s
        self._read_at = time.perf_counter()

    def measure(self) -> float | None:
        """Return the seconds to add to the stamps to get ``time.perf_counter``; as true as both wall clocks are."""
        if time.perf_counter() - self._read_at >= _AGAIN_S:
            self._read_at = time.perf_counter()
            try:
                offset = find_stream(self._settings, self._stream, _RESOLVE_S).epoch_offset_s
            except (BrokerError, StreamLost):
                offset = None
            self._epoch_offset_s = self._epoch_offset_s if offset is None else offset
        return self._epoch_offset_s - (time.time() - time.perf_counter())

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class KafkaOpener:
    """Opens a stream that another process has found; implements `neuroloop.stream.live.live_source.Opener`.

    Parameters
    ----------
    settings : KafkaSettings
    description : StreamDescription
    start : str
        As `KafkaSource` has it.
    link : SourceLink
        Takes what does not get through.
    """

    settings: KafkaSettings
    description: StreamDescription
    start: str
    link: SourceLink

    def open(self) -> LiveKafka:
        """Begin to read; call it where everything else is ready."""
        source = KafkaSource(
            self.settings,
            self.description.stream,
            start=self.start,
            resolve_s=_RESOLVE_S,
            reconnect_s=_SILENT_S,
            on_dead_letter=self.link.bury,
        )
        return LiveKafka(source, self.link)

    def open_markers(self, settings: MarkerSettings) -> KafkaMarkers | None:
        """Read the markers of the stream; without their topic there are none."""
        if not settings.enabled:
            return None
        is_from_start = self.start != "latest"
        is_newest_only = self.start.partition(":")[0] in ("earliest", "sample") and self.settings.group_id is None
        try:
            return KafkaMarkers(
                self.settings,
                self.description.stream,
                session=self.description.session if is_newest_only else None,
                is_from_start=is_from_start,
                names=settings.names,
                wait_s=_TOPIC_S,
                on_dead_letter=self.link.bury_marker,
            )
        except BrokerError as error:
            _log.warning("source: no markers: %s", error)
            return None

    def open_clock(self) -> KafkaClock | None:
        """Follow the producer's statement of its clock; None where it makes none."""
        offset = self.description.epoch_offset_s
        return None if offset is None else KafkaClock(self.settings, self.description.stream, offset)


def find_kafka_source(config: Config) -> SourcePlan:
    """Wait for the description of the stream that the settings name.

    Raises
    ------
    StreamLost
        If it does not appear in time; the message lists what there is.
    StreamMismatch
        If several streams are there and none was named.
    BrokerError
        If the brokers cannot be reached or refuse.
    SharedMemoryError
        If there is not enough shared memory.
    """
    settings, kafka = config.source, config.kafka
    if kafka is None:
        raise ConfigError("kafka.bootstrap must be given for a source of kind 'kafka', got nothing")
    description = find_stream(kafka, settings.stream_id, settings.resolve_s)
    return SourcePlan(
        info=assume_unit(description.info, settings.units),
        host=kafka.servers[0],
        is_played=False,
        n_samples=None,
        reconnect_s=settings.reconnect_s,
        opener=KafkaOpener(kafka, description, settings.start, SourceLink.make()),
        first_sample=description.first_sample,
        stream_id=description.stream,
    )


def link_of(source: SourcePlan) -> SourceLink | None:
    """Return what a source on Kafka leaves for other processes; None where a source is none."""
    return source.opener.link if isinstance(source.opener, KafkaOpener) else None


def source_families(source: SourcePlan, pipeline: str) -> KafkaSourceMetrics | None:
    """Return the metrics of a source on Kafka; None where a source is none."""
    link = link_of(source)
    if link is None:
        return None
    return KafkaSourceMetrics(
        link.counters, pipeline=pipeline, stream=source.info.name, rows=COUNTS, unreadable=REASONS
    )
