"""From LSL to Kafka: rows as they were received, with the sender's own stamps and sample numbers, and the markers.

Stamps inside the frames are the sender's, to the bit. What turns them into seconds since 1970 is measured and stands
in the stream's description, and the times of the records are made with it. The row index counts rows as received, from
0 in every session (a start of the bridge), over reconnections too; a sender's own sample numbers travel beside it. What
a run on this LSL stream would compute, a run on the frames computes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from neuroloop.config.errors import StreamLost
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.live import MarkerSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.bridge.accounting import BridgeAccount
from neuroloop.stream.bridge.epoch_clock import EpochClock
from neuroloop.stream.bridge.framer import Framer
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.sources.clock_watch import ClockWatch
from neuroloop.stream.sources.lsl.markers import LslMarkers
from neuroloop.stream.sources.lsl.network import StreamQuery, find_stream
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.sources.session import SourceSession, settle_markers
from neuroloop.stream.sources.units import assume_unit
from neuroloop.stream.wire.delivery_reports import DeliveryReports
from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.messages import (
    StreamDescription,
    description_message,
    event_message,
    frame_message,
    marker_message,
)
from neuroloop.stream.wire.topics import TopicKind, Topics

_log = logging.getLogger("neuroloop.bridge")
KINDS: tuple[TopicKind, ...] = ("samples", "streams", "markers", "alerts")
_READ_S = 0.2
_FIRST_OFFSET_S = 3.0
_DESCRIBE_EVERY_S = 60.0
_MOVED_S = 1e-3


@dataclass(frozen=True)
class BridgeOptions:
    """Which stream, and how long.

    Parameters
    ----------
    query : StreamQuery
    resolve_s, reconnect_s : float
        How long to wait for the stream at the start, and when it is lost, in seconds.
    seconds : float, optional
        Stop after so many seconds.
    counter_channel : str, optional
        As `LslSource` has it.
    units : str, optional
        Unit of channels that say none.
    markers : MarkerSettings
    ends_stream : bool
        Whether a bridge that is stopped says that the stream is over; readers that run on for the next session do not
        want that.
    """

    query: StreamQuery
    resolve_s: float = 30.0
    reconnect_s: float = 600.0
    seconds: float | None = None
    counter_channel: str | None = None
    units: str | None = None
    markers: MarkerSettings = field(default_factory=MarkerSettings)
    ends_stream: bool = True


class ToKafka:
    """One LSL stream and its markers, on their way to Kafka.

    Parameters
    ----------
    settings : KafkaSettings
    options : BridgeOptions

    Raises
    ------
    StreamLost, StreamMismatch
        If the stream is not there in time, or several are.
    ConfigError
        As `Producer` raises them.
    """

    def __init__(self, settings: KafkaSettings, options: BridgeOptions) -> None:
        self._settings = settings
        self._options = options
        self._topics = Topics(settings.prefix)
        self._is_stopped = False
        found = find_stream(options.query, options.resolve_s)
        self._source = LslSource(found, counter_channel=options.counter_channel)
        info = assume_unit(self._source.info, options.units)
        self.stream = settings.stream_id or info.source_id or info.name or "stream"
        session = round(time.time() * 1e3)
        self._description = StreamDescription(self.stream, info, session, None, self._source.description.first_sample)
        self._framer = Framer(
            info,
            stream=self.stream,
            session=session,
            frame_s=settings.frame_s,
            max_bytes=settings.max_message_bytes,
            value_format=found.format,
        )
        self.books = BridgeAccount(self.stream, "to-kafka", session=session)
        self._n_marks = 0
        self._n_told = 0
        self._newest_stamp = 0.0
        self._described_at = 0.0
        self._clock = ClockWatch(self._open_clock) if self._source.description.stamps == "clock" else None
        self._correction_s: float | None = None
        self._session = SourceSession(
            self._source, None, reconnect_s=options.reconnect_s, is_stopped=lambda: self._is_stopped
        )
        self._reports = DeliveryReports(self._topics, session)
        self._producer = Producer(settings, KINDS, on_report=self._reports)

    def stop(self) -> None:
        """Finish soon; from any thread or signal handler."""
        self._is_stopped = True

    def run(self) -> BridgeAccount:
        """Carry rows and markers until the sender ends, the time is up or somebody stops it; return the books."""
        options = self._options
        if options.markers.enabled:
            queries = tuple(StreamQuery(name=name) for name in options.markers.names or ())
            self._session.markers = LslMarkers(queries, data_host=self._source.found.host)
            settle_markers(self._session.markers)
        try:
            self._source.open()
            offset = self._clock.start(_FIRST_OFFSET_S) if self._clock is not None else None
            self._describe(offset)
            _log.info("%s: %s", self.stream, self._how_time_maps())
            self.books.ended = "finished" if self._carry() else "stopped"
            self._finish()
        finally:
            self.close()
        return self.books

    def close(self) -> None:
        """Send what still waits, close everything; may be called twice."""
        self._producer.close()
        if self._clock is not None:
            self._clock.close()
        self._session.close()
        self._balance()

    def _carry(self) -> bool:
        """Read and send; say whether the sender said that it was all."""
        source, framer, n_expected = self._source, self._framer, self._source.description.n_samples
        end = None if self._options.seconds is None else time.perf_counter() + self._options.seconds
        samples = self.books.samples
        while not self._is_stopped and (end is None or time.perf_counter() < end):
            due_s = framer.due_in_s(time.perf_counter())
            try:
                block = source.read(_READ_S if due_s is None else min(_READ_S, max(due_s, 1e-3)))
            except StreamLost as lost:
                if n_expected is not None and samples.n_in >= n_expected:
                    return True
                _log.warning("%s", lost)
                if not self._recover(end):
                    return False
                continue
            now = time.perf_counter()
            self._take_markers()
            if block is not None:
                samples.n_in += len(block.timestamps)
                self._newest_stamp = float(block.timestamps[-1])
                framer.add(block, now)
            if framer.due_in_s(now) == 0.0:
                self._send_rows()
                self._describe_again()
            if n_expected is not None and samples.n_in >= n_expected:
                return True
        return False

    def _recover(self, end: float | None) -> bool:
        """Send what came, say that the stream is lost, wait for it, say that it is back; False if it stays away."""
        self._send_rows()
        self._tell("lost")
        if not self._session.recover(until=end, meanwhile=self._take_markers):
            return False
        self.books.n_reconnections += 1
        if self._clock is not None:
            self._clock.renew()
        self._tell("found")
        return True

    def _open_clock(self) -> EpochClock:
        """Begin to measure the clock of whoever sends now."""
        return EpochClock(self._source.found, self._take_correction)

    def _take_correction(self, correction_s: float) -> None:
        self._correction_s = correction_s

    def _tell(self, what: str) -> None:
        """Publish ``lost`` or ``found`` as a live run says it, at the last row that came."""
        self._n_told += 1
        row = max(0, self._framer.next_row - 1)
        event = Event("stream", self._description.info.name, row, self._n_told, self._newest_stamp, 0.0, {"what": what})
        self._producer.offer(
            event_message(
                self._topics, event, session=self._description.session, stream=self.stream,
                epoch_offset_s=self._offset_s(),
            )
        )  # fmt: skip

    def _take_markers(self) -> None:
        self._send_markers(self._session.read_markers())

    def _send_markers(self, markers: Sequence[Marker]) -> None:
        for marker in markers:
            self.books.markers.n_in += 1
            self._producer.offer(
                marker_message(
                    self._topics,
                    marker,
                    stream=self.stream,
                    k=self._n_marks,
                    session=self._description.session,
                    epoch_offset_s=self._offset_s(),
                )
            )
            self._n_marks += 1

    def _send_rows(self) -> None:
        for frame in self._framer.take():
            self._send_frame(frame)

    def _send_frame(self, frame: Frame) -> None:
        self._producer.offer(frame_message(self._topics, frame, epoch_offset_s=self._offset_s()))

    def _finish(self) -> None:
        """Take the last markers and rows; say that the stream is over."""
        for markers in self._session.last_markers():
            self._send_markers(markers)
        self._send_rows()
        if self._options.ends_stream or self.books.ended == "finished":
            self._send_frame(self._framer.last())

    def _offset_s(self) -> float | None:
        return self._clock.offset_s if self._clock is not None else None

    def _describe(self, offset: float | None) -> None:
        self._description = replace(self._description, epoch_offset_s=offset)
        self._described_at = time.perf_counter()
        self._producer.offer(description_message(self._topics, self._description))

    def _describe_again(self) -> None:
        """Describe the stream anew where its clock has moved, now and then."""
        new, old = self._offset_s(), self._description.epoch_offset_s
        if new is None or (old is not None and abs(new - old) < _MOVED_S):
            return
        if old is None or time.perf_counter() - self._described_at >= _DESCRIBE_EVERY_S:
            self._describe(new)

    def _how_time_maps(self) -> str:
        clock = self._clock
        if clock is None:
            return "stamps are a recording's own, no clock turns them into a time of day"
        if clock.offset_s is None:
            return "the sender's clock has not answered yet, records carry the time of sending"
        return f"stamp {clock.offset_s:+.6f} s = seconds since 1970 (LSL's correction {self._correction_s:+.6f} s)"

    def _balance(self) -> None:
        """Close the books with what the producer says."""
        books, sent = self.books, self._producer.books()
        books.n_messages, books.messages_dropped = sent.arrived, dict(sorted(sent.dropped.items()))
        books.problem, books.spool_dir = self._producer.problem, self._settings.spool_dir
        is_kept = self._settings.overflow == "spool"
        self._reports.enter(books.samples, self._topics.samples, is_kept=is_kept)
        self._reports.enter(books.markers, self._topics.markers, is_kept=is_kept)
        books.n_unread = self._source.n_unread
        if self._clock is not None:
            books.epoch_offset_s, books.time_correction_s = self._clock.offset_s, self._correction_s
