"""Publishes what a run says and, if asked, its numbered samples; an `EventSink` and a `Tap`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neuroloop.config.errors import WireError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.naming import published_kinds, stream_id
from neuroloop.sinks.kafka.producer import Producer, SendBalance
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.wire.frames import frames_of_chunk, last_frame
from neuroloop.stream.wire.messages import (
    Message,
    StreamDescription,
    description_message,
    event_message,
    frame_message,
)
from neuroloop.stream.wire.topics import Topics, kind_of_event

_log = logging.getLogger("neuroloop.kafka")
_INPUT = "input"


class KafkaSink:
    """Events on their topics, chunks of the tap ``input`` as frames of about ``frame_s``.

    Nothing here waits or raises; what is lost is counted in `books`.

    Parameters
    ----------
    settings : KafkaSettings
        ``publish`` says what is sent; anything else is ignored.
    info : StreamInfo
        Of the samples of the tap ``input``.
    epoch_offset_s : float, optional
        What turns stamps into seconds since 1970, where it is known.
    producer : Producer, optional
        Shared with others, who close it; otherwise a new one.
    session : int, optional
        See `neuroloop.stream.wire.frames.Frame`; milliseconds since 1970 by default.
    clock : callable
        Wall clock in seconds.

    Raises
    ------
    ConfigError
        As `Producer` raises them.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        info: StreamInfo,
        *,
        epoch_offset_s: float | None = None,
        producer: Producer | None = None,
        session: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._info = info
        self._topics = Topics(settings.prefix)
        self._published = frozenset(settings.publish)
        self.stream = stream_id(settings, info)
        self.epoch_offset_s = epoch_offset_s
        self.session = round(clock() * 1e3) if session is None else session
        self.unsendable: Counter[str] = Counter()
        """Frames or events that have no place on the wire, by reason; they never reached the producer."""
        self._pending: list[Chunk] = []
        self._n_pending = 0
        self._n_frame = max(1, round(settings.frame_s * info.sfreq))
        self._next_sample = 0
        self._is_closed = False
        self._own = producer is None
        self._producer = Producer(settings, published_kinds(settings)) if producer is None else producer
        if "samples" in self._published:
            description = StreamDescription(self.stream, info, self.session, epoch_offset_s)
            self._producer.offer(description_message(self._topics, description))

    def write(self, events: Sequence[Event], deliveries: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Take events.

        Parameters
        ----------
        events : sequence of Event
        deliveries : sequence of mapping, optional
            How each reached its reader; put behind its canonical fields.
        """
        for index, event in enumerate(events):
            if kind_of_event(event.type) not in self._published:
                continue
            delivery = None if deliveries is None else deliveries[index]
            self._offer(
                event_message(
                    self._topics,
                    event,
                    session=self.session,
                    stream=self.stream,
                    delivery=delivery,
                    epoch_offset_s=self.epoch_offset_s,
                )
            )

    def write_chunk(self, tap: str, chunk: Chunk) -> None:
        """Take numbered rows of the tap ``input``; a frame ends where the numbers jump."""
        if tap != _INPUT or "samples" not in self._published or not len(chunk):
            return
        if self._pending and chunk.first_sample != self._pending[-1].next_sample:
            self._send_rows()
        self._pending.append(chunk)
        self._n_pending += len(chunk)
        if self._n_pending >= self._n_frame:
            self._send_rows()

    @property
    def n_pending(self) -> int:
        """Rows that are in no frame yet."""
        return self._n_pending

    def books(self) -> SendBalance:
        """Return the balance of messages."""
        return self._producer.books()

    @property
    def problem(self) -> str:
        """Why nothing gets through at the moment, in one line; empty where nothing is wrong."""
        return self._producer.problem

    def close(self) -> None:
        """Send the rest and the end of the stream; wait for it at most ``close_s``. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        if "samples" in self._published:
            self._send_rows()
            end = last_frame(
                stream=self.stream,
                first_sample=self._next_sample,
                counts="samples",
                sfreq=self._info.sfreq,
                n_channels=self._info.n_channels,
                session=self.session,
            )
            self._offer(frame_message(self._topics, end))
        if self._own:
            self._producer.close()

    def _send_rows(self) -> None:
        """Make frames of what is pending."""
        pending, self._pending, self._n_pending = self._pending, [], 0
        if not pending:
            return
        chunk = pending[0] if len(pending) == 1 else _joined(pending)
        self._next_sample = chunk.next_sample
        try:
            frames = frames_of_chunk(
                chunk, stream=self.stream, session=self.session, max_bytes=self._settings.max_message_bytes
            )
            for frame in frames:
                self._offer(frame_message(self._topics, frame, epoch_offset_s=self.epoch_offset_s))
        except WireError as error:
            self._count(str(error), len(chunk))

    def _offer(self, message: Message) -> None:
        self._producer.offer(message)

    def _count(self, why: str, n: int) -> None:
        if not self.unsendable[why]:
            _log.error("kafka: samples cannot be sent: %s", why)
        self.unsendable[why] += n


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return consecutive chunks as one."""
    return Chunk(
        np.concatenate([chunk.data for chunk in chunks]),
        np.concatenate([chunk.timestamps for chunk in chunks]),
        chunks[0].first_sample,
        np.concatenate([chunk.valid for chunk in chunks]),
        chunks[0].info,
    )
