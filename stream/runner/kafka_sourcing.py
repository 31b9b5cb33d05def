"""A live source on Kafka: found by the supervisor, opened by the hot process."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from config.kafka import KafkaSettings
from config.live import MarkerSettings
from config.tree import Config
from stream.contracts.chunks import RawBlock, StreamInfo
from stream.contracts.errors import BrokerError, ConfigError, StreamLost
from stream.contracts.messages import StreamDescription
from stream.runner.sourcing import SourcePlan
from stream.sources.kafka.finding import find_stream
from stream.sources.kafka.markers import KafkaMarkers
from stream.sources.kafka.source import KafkaSource
from stream.sources.units import assume_unit

_log = logging.getLogger("neuroloop.source")
_AWAY_S = 1.0
"""How long the brokers may give no answer before the stream counts as lost."""
_AGAIN_S = 300.0
_RESOLVE_S = 5.0
_TOPIC_S = 1.0


class LiveKafka:
    """A `KafkaSource` that says when its brokers are away, and goes on when they are back.

    The client finds the brokers again by itself, at the row after the last one. A producer that is silent is not a
    lost stream: brokers that answer are.

    Parameters
    ----------
    source : KafkaSource
    """

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self._kept: RawBlock | None = None

    @property
    def info(self) -> StreamInfo:
        """The stream as its producer describes it."""
        return self._source.info

    def read(self, timeout_s: float) -> RawBlock | None:
        """Return the next rows; as `KafkaSource.read`."""
        kept, self._kept = self._kept, None
        return self._source.read(timeout_s) if kept is None else kept

    def reopen(self, timeout_s: float) -> None:
        """Wait, at most so long, for the brokers.

        Raises
        ------
        StreamLost
            If they are still away.
        """
        self._kept = self._source.read(timeout_s)

    def close(self) -> None:
        """End the connection and say what was left out; may be called twice."""
        counts = {reason: count for reason, count in sorted(self._source.counts.items()) if count}
        if counts:
            _log.info("source: %s", ", ".join(f"{count} {reason}" for reason, count in counts.items()))
            self._source.counts.clear()
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
    """Opens a stream that another process has found; implements `stream.runner.sourcing.Opener`.

    Parameters
    ----------
    settings : KafkaSettings
    description : StreamDescription
    start : str
        As `KafkaSource` has it.
    """

    settings: KafkaSettings
    description: StreamDescription
    start: str

    def open(self) -> LiveKafka:
        """Begin to read; call it where everything else is ready."""
        stream = self.description.stream
        return LiveKafka(
            KafkaSource(self.settings, stream, start=self.start, resolve_s=_RESOLVE_S, reconnect_s=_AWAY_S)
        )

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
        opener=KafkaOpener(kafka, description, settings.start),
        first_sample=description.first_sample,
        stream_id=description.stream,
    )
