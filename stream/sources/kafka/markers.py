"""Markers of one stream from Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from kafka.errors import KafkaError

from neuroloop.config.errors import BrokerError, WireError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.kafka.discovery import ends_of, open_consumer, partitions_of
from neuroloop.stream.wire.brokers import explain
from neuroloop.stream.wire.dead_letters import DeadLetter, dead_letter_of
from neuroloop.stream.wire.messages import marker_from_json, utf8
from neuroloop.stream.wire.topics import Topics

_log = logging.getLogger("neuroloop.kafka")
_POLL_S = 0.02
"""A look costs some hundred microseconds in the loop that asks."""
_SLICE_S = 0.2
_PAUSE_S = 1.0
_MAX_DIGITS = 19
"""Of a session: 64 bits."""


class KafkaMarkers:
    """Read the markers of a stream; implements `neuroloop.stream.contracts.protocols.MarkerSource`.

    Markers have a topic of their own, without an order between them and the samples. A reader that begins with old
    samples therefore takes all markers that are there first (`settle`): they wait for their samples.

    Parameters
    ----------
    settings : KafkaSettings
        No group: every reader gets all markers.
    stream : str
        Id of the stream.
    session : int, optional
        Markers of earlier sessions of the producer are left out.
    is_from_start : bool
        Begin with the oldest marker that the brokers keep, not with what comes next.
    names : sequence of str, optional
        Only markers whose own stream has one of these names.
    wait_s : float
        How long to wait for the topic to be made.
    on_dead_letter : callable, optional
        Gets what cannot be read; must not wait.

    Raises
    ------
    BrokerError
        If the brokers cannot be reached or refuse, or the topic is missing.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        stream: str,
        *,
        session: int | None = None,
        is_from_start: bool = False,
        names: Sequence[str] | None = None,
        wait_s: float = 5.0,
        on_dead_letter: Callable[[DeadLetter], None] | None = None,
    ) -> None:
        self.n_unreadable = 0
        """Messages that could not be read."""
        self.n_errors = 0
        """How often the brokers refused."""
        self._on_dead_letter = on_dead_letter
        self._key = utf8(stream)
        self._session = session
        self._names = None if names is None else frozenset(names)
        self._found: list[Marker] = []
        self._looked_at = 0.0
        self._consumer: Any
        self._consumer, self._arguments = open_consumer(settings, group_id=None)
        try:
            self._partitions = partitions_of(self._consumer, Topics(settings.prefix).markers, wait_s, self._arguments)
            self._consumer.assign(self._partitions)
            if is_from_start:
                starts = self._consumer.beginning_offsets(self._partitions)
            else:
                starts = ends_of(self._consumer, self._partitions, wait_s)
            for partition, offset in starts.items():
                self._consumer.seek(partition, offset)
        except KafkaError as error:
            self.close()
            raise BrokerError(explain(error, self._arguments)) from error
        except BrokerError:
            self.close()
            raise

    @property
    def senders(self) -> tuple[object, ...]:
        """The topic: somebody may always say something more."""
        return () if self._consumer is None else (self._key,)

    def read(self) -> list[Marker]:
        """Return what came since the last call, in order of time; never waits.

        Brokers that refuse end nothing: it is logged once, counted, and tried again after a pause.
        """
        now = time.monotonic()
        if self._consumer is not None and now - self._looked_at >= _POLL_S:
            self._looked_at = now
            try:
                self._poll(0.0)
            except BrokerError as error:
                if not self.n_errors:
                    _log.warning("kafka: markers cannot be read now: %s", error)
                self.n_errors += 1
                self._looked_at = now + _PAUSE_S
        found, self._found = self._found, []
        if len(found) > 1:
            found.sort(key=lambda marker: marker.time)
        return found

    def settle(self, timeout_s: float) -> bool:
        """Take all that the brokers have now; say whether that succeeded in time."""
        end = time.monotonic() + timeout_s
        try:
            positions = {one: self._consumer.position(one) for one in self._partitions}
            ends = ends_of(self._consumer, self._partitions, timeout_s)
            for partition, offset in positions.items():
                self._consumer.seek(partition, offset)
            while any(self._consumer.position(one) < offset for one, offset in ends.items()):
                left_s = end - time.monotonic()
                if left_s <= 0:
                    return False
                self._poll(min(_SLICE_S, left_s))
        except KafkaError as error:
            _log.warning("kafka: markers cannot be read now: %s", explain(error, self._arguments))
            return False
        return True

    def close(self) -> None:
        """End the connection; may be called twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False)

    def _poll(self, wait_s: float) -> None:
        try:
            batches = self._consumer.poll(timeout_ms=round(wait_s * 1e3))
        except KafkaError as error:
            raise BrokerError(explain(error, self._arguments)) from error
        for records in batches.values():
            for record in records:
                if record.key == self._key and record.value is not None and self._is_of_session(record.headers):
                    self._add(record)

    def _add(self, record: Any) -> None:
        try:
            marker = marker_from_json(record.value)
        except WireError as error:
            if not self.n_unreadable:
                _log.warning(
                    "kafka: a marker of %s (partition %d, offset %d) is left out, and so will be others: %s",
                    record.topic, record.partition, record.offset, error,
                )  # fmt: skip
            self.n_unreadable += 1
            if self._on_dead_letter is not None:
                self._on_dead_letter(dead_letter_of(record, str(error)))
            return
        if self._names is None or marker.stream in self._names:
            self._found.append(marker)

    def _is_of_session(self, headers: Sequence[tuple[str, bytes | None]]) -> bool:
        """Say whether a marker is of the session asked for or a later one; one that does not say is."""
        if self._session is None:
            return True
        for name, value in headers:
            if name == "ce_id":
                part = (value or b"").rpartition(b"/")[0].rpartition(b"/")[2]
                return not part.isdigit() or len(part) > _MAX_DIGITS or int(part) >= self._session
        return True
