"""One stream of the samples topic as a source of raw blocks."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from neuroloop.config.errors import BrokerError, ConfigError, StreamEnded, StreamLost, StreamMismatch, WireError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.sources.kafka.discovery import ends_of, find_stream, open_consumer, partitions_of
from neuroloop.stream.sources.kafka.ordering import SessionOrder
from neuroloop.stream.sources.kafka.source_health import AwayWatch, LeftOutWatch
from neuroloop.stream.wire.brokers import explain
from neuroloop.stream.wire.dead_letters import DeadLetter, dead_letter_of
from neuroloop.stream.wire.frames import Frame, decode_frame, join_blocks
from neuroloop.stream.wire.messages import utf8
from neuroloop.stream.wire.row_order import Piece
from neuroloop.stream.wire.topics import Topics

_log = logging.getLogger("neuroloop.kafka")
_SLICE_S = 0.2
_MAX_VALUES = 1 << 20
_MAX_FETCH_BYTES = 8 << 20
_MAX_POLL_RECORDS = 256
_COMMIT_S = 1.0
_SHUT_S = 1.0
_SHUT_ROWS = 100
"""Rows left out in a row that are said again: a second's, or so many of an irregular stream."""
UNREADABLE = ("no frame", "other stream", "other layout", "other counting")
"""Why a message cannot be used: it does not decode, its key is another stream's, or it is not as described or begun."""


class KafkaSource:
    """Read one stream; implements `neuroloop.stream.contracts.protocols.Source`.

    Rows come once and in order (`neuroloop.stream.wire.row_order`). Where frames count samples their indices
    are the ``sample_numbers``; otherwise the stamps show what is missing, and rows lost on the way are counted. Nothing
    is fetched ahead of the reader beyond some megabytes, so a slow one is a matter of `lag`, not of memory.

    Parameters
    ----------
    settings : KafkaSettings
        With ``group_id`` the partitions are shared within that group, and what was handed out is committed about once a
        second; without it all partitions are read and nothing is committed.
    stream : str, optional
        Id of the stream; without it the only one there is.
    start : str
        ``latest``, ``earliest``, ``offset:N`` (in every partition) or ``sample:N`` (the row with that index, looked for
        from the oldest message on). ``earliest`` and ``sample:N`` mean the newest session of the producer.
    resolve_s : float
        How long to wait for the stream's description.
    reconnect_s : float
        How long brokers may be away before the stream counts as lost.
    on_dead_letter : callable, optional
        Gets what cannot be read; must not wait.

    Raises
    ------
    StreamLost
        If the stream does not appear in time.
    StreamMismatch
        If several streams are there and none was named.
    BrokerError
        If the brokers cannot be reached or refuse, or a topic is missing.
    ConfigError
        If ``start`` does not fit, or the password is not where the settings say.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        stream: str | None = None,
        *,
        start: str = "latest",
        resolve_s: float = 30.0,
        reconnect_s: float = 600.0,
        on_dead_letter: Callable[[DeadLetter], None] | None = None,
    ) -> None:
        where, number = _parse_start(start, has_group=settings.group_id is not None)
        self.description = find_stream(settings, stream, resolve_s)
        self.unreadable: Counter[str] = Counter()
        """Messages that could not be read, by reason (`UNREADABLE`)."""
        self._settings = settings
        self._reconnect_s = reconnect_s
        self._on_dead_letter = on_dead_letter
        self._key = utf8(self.description.stream)
        is_newest_only = where in ("earliest", "sample") and settings.group_id is None
        self._order = SessionOrder(
            self.description.session if is_newest_only else None, number if where == "sample" else None
        )
        sfreq = self.description.info.sfreq
        n_in_a_row = max(1, round(_SHUT_S * sfreq)) if sfreq > 0 else _SHUT_ROWS
        self._left_out = LeftOutWatch(self.description.stream, n_in_a_row)
        self._topic = Topics(settings.prefix).samples
        self._positions: dict[int, int] = {}
        self._returned: dict[int, int] = {}
        self._committed_at = time.monotonic()
        self._held_back: Piece | None = None
        self._consumer: Any
        self._consumer, self._arguments = open_consumer(
            settings,
            auto_offset_reset="latest" if where == "latest" else "earliest",
            max_poll_records=_MAX_POLL_RECORDS,
            fetch_max_bytes=max(_MAX_FETCH_BYTES, 2 * settings.max_message_bytes),
        )
        try:
            self._begin(where, number, resolve_s)
        except KafkaError as error:
            self.close()
            raise BrokerError(explain(error, self._arguments)) from error
        except BrokerError:
            self.close()
            raise
        self._away = AwayWatch(self._arguments)

    @property
    def info(self) -> StreamInfo:
        """The stream as its producer describes it."""
        return self.description.info

    @property
    def counts(self) -> Counter[str]:
        """Rows that were not handed out, by reason; see `SessionOrder.counts`."""
        return self._order.counts

    @property
    def n_unreadable(self) -> int:
        """Messages that could not be read."""
        return self.unreadable.total()

    @property
    def lag(self) -> int:
        """Messages of all partitions read that are still to come, as far as the brokers have said."""
        behind = 0
        for partition in self._consumer.assignment() if self._consumer is not None else ():
            newest = self._consumer.highwater(partition)
            if newest is not None and partition.partition in self._positions:
                behind += max(0, newest - self._positions[partition.partition])
        return behind + self._order.n_held

    def read(self, timeout_s: float) -> RawBlock | None:
        """Wait at most ``timeout_s`` for the first new rows and take all there are, up to 2**20 values.

        Returns
        -------
        RawBlock or None
            New arrays; None if nothing came.

        Raises
        ------
        StreamEnded
            After the last row.
        StreamLost
            If the brokers have been away for longer than ``reconnect_s``.
        StreamMismatch
            If the producer began anew with another layout.
        BrokerError
            If the brokers refuse.
        """
        if self._consumer is None:
            raise StreamLost(f"source must be open, got a closed one of stream {self.description.stream!r}")
        self._commit_due()
        end = time.monotonic() + timeout_s
        while True:
            block = self._take_ready()
            if block is not None:
                return block
            if self._order.is_over:
                name, n = self.description.stream, self._order.next_index
                raise StreamEnded(f"stream {name!r} is over, its producer said so after index {n}")
            left_s = end - time.monotonic()
            self._poll(min(_SLICE_S, max(0.0, left_s)))
            if left_s <= 0 and not self._order.has_ready:
                return None

    def commit(self) -> None:
        """Say to the group that everything handed out so far is dealt with; nothing without a group."""
        if self._settings.group_id is None or not self._returned:
            return
        offsets = {
            TopicPartition(self._topic, one): OffsetAndMetadata(at, "", -1) for one, at in self._returned.items()
        }
        self._committed_at = time.monotonic()
        try:
            self._consumer.commit_async(offsets)
        except KafkaError as error:
            _log.warning("kafka: offsets were not committed (%s)", error)

    def close(self) -> None:
        """End the connection; may be called twice. What was handed out last is not committed."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            away = getattr(self, "_away", None)
            if away is not None:
                away.stop()
            consumer.close(autocommit=False)

    def _begin(self, where: str, number: int | None, resolve_s: float) -> None:
        """Take up all partitions, or join the group."""
        consumer = self._consumer
        partitions = partitions_of(consumer, self._topic, resolve_s, self._arguments)
        if self._settings.group_id is not None:
            consumer.subscribe([self._topic], listener=_Rebalances(self._forget))
            return
        consumer.assign(partitions)
        if where == "latest":
            offsets = ends_of(consumer, partitions)
        else:
            offsets = consumer.beginning_offsets(partitions)
            if where == "offset" and number is not None:
                offsets = {one: max(first, number) for one, first in offsets.items()}
        for one, offset in offsets.items():
            consumer.seek(one, offset)
            self._positions[one.partition] = offset

    def _poll(self, wait_s: float) -> None:
        """Take what the brokers have."""
        try:
            batches = self._consumer.poll(timeout_ms=math.ceil(wait_s * 1e3))
        except KafkaError as error:
            raise BrokerError(explain(error, self._arguments)) from error
        now = time.monotonic()
        for partition, records in batches.items():
            self._away.heard()
            for record in records:
                self._add(record, now)
                self._positions[partition.partition] = record.offset + 1
        self._order.advance(now)
        self._left_out.look(self._order)
        away_s = self._away.away_s
        if away_s > self._reconnect_s:
            raise StreamLost(f"{self._away.why} (for {away_s:.0f} s)")

    def _add(self, record: Any, now: float) -> None:
        """Take one message; what cannot be read is passed on and counted."""
        if record.key is not None and record.key != self._key:
            return
        reason = "no frame"
        try:
            frame = decode_frame(b"" if record.value is None else record.value)
            if frame.stream != self.description.stream:
                if record.key is None:
                    return
                reason = "other stream"
                raise WireError(f"stream must be the key of its message ({self._key!r}), got {frame.stream!r}")
            reason = "other layout"
            if not self._order.is_other(frame.session):
                self._check_layout(frame)
            reason = "other counting"
            self._order.add(frame, record.partition, record.offset, now)
        except WireError as error:
            self._put_aside(record, reason, str(error))

    def _put_aside(self, record: Any, reason: str, why: str) -> None:
        """Count a message that cannot be read and pass it on; the first of a reason is said in the log."""
        if not self.unreadable[reason]:
            _log.warning(
                "kafka: a message of %s (partition %d, offset %d) is left out, and so will be others: %s",
                record.topic, record.partition, record.offset, why,
            )  # fmt: skip
        self.unreadable[reason] += 1
        if self._on_dead_letter is not None:
            self._on_dead_letter(dead_letter_of(record, why))

    def _check_layout(self, frame: Frame) -> None:
        """Refuse rows of another shape: those of a producer that began anew end the run, others are unreadable."""
        info = self.description.info
        if (frame.data.shape[1], frame.sfreq) == (info.n_channels, info.sfreq):
            return
        rule = f"rows must have {info.n_channels} channels at {info.sfreq:g} Hz as described"
        got = f"{rule}, got {frame.data.shape[1]} at {frame.sfreq:g} Hz"
        if self._order.is_newer(frame.session):
            raise StreamMismatch(f"stream {self.description.stream!r}: {got} (its producer began anew)")
        raise WireError(got)

    def _take_ready(self) -> RawBlock | None:
        """Join the rows that are there; a block is of one kind, with sample numbers or without."""
        parts: list[RawBlock] = []
        n_values = 0
        while n_values < _MAX_VALUES:
            ready = self._held_back or self._order.take()
            self._held_back = None
            if ready is None:
                break
            block = ready.frame.block(ready.start)
            if parts and (block.sample_numbers is None) != (parts[0].sample_numbers is None):
                self._held_back = ready
                break
            parts.append(block)
            n_values += block.data.size or len(block.timestamps)
        if not parts:
            return None
        return join_blocks(parts)

    def _commit_due(self) -> None:
        """Count what the last call handed out as dealt with; tell the group now and then."""
        if self._settings.group_id is None:
            return
        for partition, position in self._positions.items():
            oldest = self._order.oldest_offset(partition)
            if self._held_back is not None and self._held_back.partition == partition:
                oldest = self._held_back.offset
            self._returned[partition] = position if oldest is None else oldest
        if time.monotonic() - self._committed_at >= _COMMIT_S:
            self.commit()

    def _forget(self, partitions: Iterable[int]) -> None:
        """Leave to another member of the group what is now its own."""
        for partition in partitions:
            self._order.forget(partition)
            self._positions.pop(partition, None)
            self._returned.pop(partition, None)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of partitions that go to another member of the group."""

    def __init__(self, forget: Callable[[Iterable[int]], None]) -> None:
        self._forget = forget

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Leave out what came from them and was not handed out."""
        self._forget([one.partition for one in revoked])

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Nothing to do: reading begins where the group has committed."""


def _parse_start(start: str, *, has_group: bool) -> tuple[str, int | None]:
    """Return where to begin, and the number that belongs to it."""
    where, _, number = start.partition(":")
    is_plain = where in ("latest", "earliest") and not number
    is_numbered = where in ("offset", "sample") and number.isdecimal()
    if not (is_plain or is_numbered):
        raise ConfigError(f"source.start must be latest, earliest, offset:N or sample:N, got {start!r}")
    if has_group and not is_plain:
        raise ConfigError(f"source.start must be latest or earliest with kafka.group_id, got {start!r}")
    return where, int(number) if is_numbered else None
