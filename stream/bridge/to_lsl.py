"""From Kafka to LSL: a relay of a stream and its markers, with the original stamps.

The outlets say three times that they are a relay and no source to act on: their ``source_id`` begins with
``neuroloop-monitoring-relay-``, their types are ``neuroloop-signal`` and ``neuroloop-markers``, and their description
has ``desc/neuroloop/purpose``. Runs and bridges take them only where they are asked for by name, so that nothing goes
in circles. Stamps are on the first sender's clock, which LSL's ``time_correction`` between relay and receiver knows
nothing of: the description says ``stamps: recording``, and what turns them into seconds since 1970.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pylsl

from neuroloop.config.errors import BrokerError, StreamEnded
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.bridge.accounting import BridgeAccount
from neuroloop.stream.bridge.dead_letter_queue import DeadLetterQueue
from neuroloop.stream.contracts.chunks import MONITORING_ID, RawBlock
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.kafka.kafka_state import NO_MARKER
from neuroloop.stream.sources.kafka.markers import KafkaMarkers
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.sources.lsl.description import make_lsl_info, make_marker_info
from neuroloop.stream.sources.lsl.stamps import sendable

_log = logging.getLogger("neuroloop.bridge")
RELAY_ID = f"{MONITORING_ID}relay-"
SIGNAL_TYPE, MARKER_TYPE = "neuroloop-signal", "neuroloop-markers"
_READ_S = 0.2
_LINGER_S = 2.0
_LAST_MARKERS_S = 0.3
_POLL_S = 0.02
_SETTLE_S = 10.0
_NOT_THROUGH = {
    "duplicates": "repeated",
    "late": "late",
    "other_session": "of another session",
}
"""Why a row that came from Kafka is not pushed, and how the books call it."""
_HEAD_START_S = 0.5
"""Rows that are there already come all at once: a receiver must have the markers before them."""


@dataclass(frozen=True)
class RelayOptions:
    """Which stream, from where on.

    Parameters
    ----------
    stream : str, optional
        Its id; without it the only one there is.
    name : str, optional
        Name of the outlet; the stream's own with ``-relay`` behind it otherwise.
    start : str
        As `KafkaSource` has it.
    resolve_s, reconnect_s : float
        How long to wait for the stream's description, and for brokers that are away, in seconds.
    seconds : float, optional
        Stop after so many seconds.
    waits : bool
        Whether to wait for a consumer before the first row is read.
    """

    stream: str | None = None
    name: str | None = None
    start: str = "latest"
    resolve_s: float = 30.0
    reconnect_s: float = 600.0
    seconds: float | None = None
    waits: bool = False


class ToLsl:
    """One stream of Kafka and its markers, offered on the network.

    A row whose sender's number is known carries it in the last channel (``sample_number``), as a played recording does;
    flags (``valid``) have no place on LSL and are counted. liblsl drops what no consumer takes, and markers of a stream
    of markers that is new reach only those who have found its outlet.

    Parameters
    ----------
    settings : KafkaSettings
    options : RelayOptions

    Raises
    ------
    StreamLost, StreamMismatch, BrokerError, ConfigError
        As `KafkaSource` raises them.
    """

    def __init__(self, settings: KafkaSettings, options: RelayOptions) -> None:
        self._options = options
        self._is_stopped = False
        self._outlet: Any = None
        self._marker_outlets: dict[str, Any] = {}
        self._dead_letters = DeadLetterQueue(settings)
        self._n_read = 0
        self._n_dropped: Counter[str] = Counter()
        self._source = KafkaSource(
            settings,
            options.stream,
            start=options.start,
            resolve_s=options.resolve_s,
            reconnect_s=options.reconnect_s,
            on_dead_letter=self._dead_letters,
        )
        self.description = self._source.description
        self.stream = self.description.stream
        self.name = options.name or f"{self.description.info.name or self.stream}-relay"
        self.books = BridgeAccount(
            self.stream, "to-lsl", session=self.description.session, epoch_offset_s=self.description.epoch_offset_s
        )
        self._markers = self._open_markers(settings)
        self._has_numbers = False
        self._early: list[Marker] = []

    def stop(self) -> None:
        """Finish soon; from any thread or signal handler."""
        self._is_stopped = True

    def run(self) -> BridgeAccount:
        """Relay until the stream is over, the time is up or somebody stops it; return the books.

        Raises
        ------
        StreamLost, StreamMismatch, BrokerError
            As `KafkaSource.read` raises them.
        """
        options = self._options
        end = None if options.seconds is None else time.perf_counter() + options.seconds
        if self._markers is not None:
            self._markers.settle(_SETTLE_S)
            self._early = self._markers.read()
            for marker in self._early:
                self._marker_outlet(marker.stream)
            if not options.waits:
                self._push_early()
        try:
            while not self._is_stopped and (end is None or time.perf_counter() < end):
                block = self._source.read(_READ_S)
                self._relay_markers()
                if block is not None:
                    self._relay(block)
        except StreamEnded:
            self.books.ended = "finished"
        self._finish()
        return self.books

    def close(self) -> None:
        """Take the outlets off the network, end the connection; may be called twice."""
        self._outlet = None
        self._marker_outlets.clear()
        if self._markers is not None:
            self._markers.close()
        self._source.close()
        self._dead_letters.close()
        self._balance()

    def _open_markers(self, settings: KafkaSettings) -> KafkaMarkers | None:
        try:
            return KafkaMarkers(
                settings,
                self.stream,
                session=self.description.session if self._options.start in ("earliest",) else None,
                is_from_start=self._options.start != "latest",
                on_dead_letter=self._dead_letters,
            )
        except BrokerError as error:
            _log.warning("no markers: %s", error)
            return None

    def _relay(self, block: RawBlock) -> None:
        """Push rows; the first ones say what the outlet looks like."""
        n = len(block.timestamps)
        self._n_read += n
        if self._outlet is None:
            self._has_numbers = block.sample_numbers is not None
            self._outlet = self._make_outlet()
            if self._options.waits and not self._wait_for_consumer():
                self._n_dropped["without a consumer"] += n
                return
            self._push_early()
        if self._has_numbers != (block.sample_numbers is not None):
            self._n_dropped["numbered otherwise than the first rows"] += n
            return
        data = block.data
        if block.sample_numbers is not None:
            data = np.column_stack((data, block.sample_numbers.astype(np.float64)))
        if block.valid is not None:
            self.books.n_flagged += int(n - block.valid.sum())
        try:
            self._outlet.push_chunk(np.ascontiguousarray(data), sendable(block.timestamps).tolist())
        except (RuntimeError, ValueError) as error:
            if not self._n_dropped["refused by LSL"]:
                _log.error("rows could not be pushed: %s", error)
            self._n_dropped["refused by LSL"] += n
            return
        self.books.samples.n_out += n

    def _balance(self) -> None:
        """Close the books with what the source left out."""
        books, source = self.books, self._source
        not_through = Counter({name: source.counts[reason] for reason, name in _NOT_THROUGH.items()})
        books.samples.dropped = self._n_dropped + not_through
        books.samples.n_in = self._n_read + not_through.total()
        books.n_lost = max(0, source.counts["lost"] - source.counts["late"])  # late ones came after all
        books.n_restarts = source.counts["restarts"]
        books.unreadable = dict(sorted(source.unreadable.items()))
        if self._markers is not None and self._markers.n_unreadable:
            books.unreadable[NO_MARKER] = self._markers.n_unreadable
        letters = self._dead_letters.books()
        books.dead_letters = {"sent": letters.n_out, "dropped": letters.dropped.total()} if books.unreadable else {}

    def _relay_markers(self) -> None:
        if self._markers is None:
            return
        markers = self._markers.read()
        if self._early:  # they wait for a consumer, and those after them too
            self._early += markers
        elif markers:
            self._push_markers(markers)

    def _push_markers(self, markers: Sequence[Marker]) -> None:
        for marker in markers:
            self.books.markers.n_in += 1
            stamp = float(sendable(np.array([marker.time]))[0])
            self._marker_outlet(marker.stream).push_sample([marker.label], stamp)
            self.books.markers.n_out += 1

    def _push_early(self) -> None:
        """Push the markers that were there at the beginning; whoever takes them is given a moment to connect."""
        early, self._early = self._early, []
        if early and self._options.waits:
            end = time.perf_counter() + _LINGER_S
            for outlet in self._marker_outlets.values():
                outlet.wait_for_consumers(max(0.01, end - time.perf_counter()))
        self._push_markers(early)
        if early and self._options.waits:
            time.sleep(_HEAD_START_S)

    def _marker_outlet(self, stream_name: str) -> Any:
        """Return the outlet of the markers of a stream."""
        outlet = self._marker_outlets.get(stream_name)
        if outlet is None:
            outlet = self._marker_outlets[stream_name] = self._make_marker_outlet(stream_name)
        return outlet

    def _make_outlet(self) -> Any:
        info = self.description.info
        lsl = make_lsl_info(
            info,
            name=self.name,
            source_id=self._source_id("data"),
            value_format="double64",
            stamps="recording",
            counter="channel" if self._has_numbers else "none",
            first_sample=self.description.first_sample,
            lsl_type=SIGNAL_TYPE,
        )
        self._describe(lsl)
        _log.info("%s: %d channels at %g Hz", self.name, info.n_channels, info.sfreq)
        return pylsl.StreamOutlet(lsl)

    def _make_marker_outlet(self, stream_name: str) -> Any:
        number = len(self._marker_outlets) + 1
        name = f"{self.name}-markers" if number == 1 else f"{self.name}-markers-{number}"
        lsl = make_marker_info(
            name=name,
            source_id=self._source_id(name),
            stream_name=stream_name,
            stamps="recording",
            lsl_type=MARKER_TYPE,
        )
        self._describe(lsl)
        return pylsl.StreamOutlet(lsl)

    def _describe(self, lsl: Any) -> None:
        own = lsl.desc().child("neuroloop")
        own.append_child_value("purpose", "relay")
        own.append_child_value("kafka_stream", self.stream)
        own.append_child_value("epoch_offset_s", json.dumps(self.description.epoch_offset_s))

    def _source_id(self, what: str) -> str:
        digest = hashlib.sha256("\0".join((self.name, what, self.stream)).encode()).hexdigest()
        return f"{RELAY_ID}{digest[:16]}"

    def _wait_for_consumer(self) -> bool:
        while not self._is_stopped:
            if self._outlet.wait_for_consumers(_READ_S):
                return True
        return False

    def _finish(self) -> None:
        """Relay the last markers; keep the outlets until every consumer has left, but not for ever."""
        if self._markers is not None and self.books.ended == "finished":
            end = time.perf_counter() + _LAST_MARKERS_S
            while time.perf_counter() < end and not self._is_stopped:
                self._relay_markers()
                time.sleep(_POLL_S)
        end = time.perf_counter() + _LINGER_S
        while self._outlet is not None and self._outlet.have_consumers() and time.perf_counter() < end:
            if self._is_stopped:
                break
            time.sleep(_POLL_S)
