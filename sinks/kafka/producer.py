"""Send messages in order, wait for brokers that are away, count everything; nobody who offers one waits or fails."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from neuroloop.config.errors import BrokerError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.kept_messages import MESSAGES, size_of
from neuroloop.sinks.spool.spool import Spool
from neuroloop.sinks.spool.waiting import Dropped, MemoryQueue, Waiting
from neuroloop.stream.wire.brokers import connect, explain, quiet_client, why_away
from neuroloop.stream.wire.client_arguments import producer_arguments
from neuroloop.stream.wire.delivery_reports import OnReport
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topic_admin import ensure_topic_named, ensure_topics
from neuroloop.stream.wire.topics import TopicKind

_log = logging.getLogger("neuroloop.kafka")
_MAX_ON_WAY_BYTES = 8 << 20
_MAX_ON_WAY = 2000
_IDLE_S = 0.05
_RETRY_S = 1.0
_STALLED_S = 5.0
_PROBE_EVERY_S = 10.0
_CLIENT_CLOSE_S = 2.0
_ATTEMPT_S = 2.0
_REFUSED = {
    MessageSizeTooLargeError: "too large",
    RecordListTooLargeError: "too large",
    InvalidTopicError: "no such topic",
    TopicAuthorizationFailedError: "not authorised",
}
"""What no repetition mends, and the reason that is counted."""
_TRY_LATER = (BrokerError, KafkaError, OSError, ValueError)
"""What making a client raises, and what may be mended meanwhile: brokers, addresses, files of passwords and keys."""


@dataclass(frozen=True)
class SendBalance:
    """What became of every message: offered + found = arrived + waiting + dropped, by reason.

    ``found`` is what an earlier process had left in the spool, what is damaged of it included; ``repeated`` messages
    were sent once more after a failure, of which some may have arrived twice.
    """

    offered: int
    found: int
    arrived: int
    waiting: int
    dropped: dict[str, int]
    repeated: int


@dataclass(frozen=True)
class _OnWay:
    message: Message
    size: int


def _tell_nobody(message: Message, reason: str | None) -> None:
    """Be the ``on_report`` of a producer whose messages are only counted."""


class Producer:
    """An idempotent producer (``acks=all``) behind a queue that is bounded by a named policy.

    A thread of its own sends. `offer` returns at once and never raises. Messages of one key keep their order and arrive
    once as long as the brokers keep their data; after the death of a process that spools, its newest may arrive twice.

    Parameters
    ----------
    settings : KafkaSettings
    kinds : iterable of str
        Topics that are used; they are made or checked before the first message, and again when the brokers have
        forgotten them.
    on_report : callable
        Told what became of each message: None if it arrived, else why it is lost. Called from any thread; must not
        wait, nor ask the producer anything.

    Raises
    ------
    ConfigError
        If the folder of the spool cannot be used, or the password is not where the settings say.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        kinds: Iterable[TopicKind],
        *,
        on_report: OnReport = _tell_nobody,
    ) -> None:
        quiet_client()
        self._settings = settings
        self._kinds = tuple(kinds)
        self._arguments = producer_arguments(settings)
        self._on_fate = on_report
        self._queue = _make_queue(settings, on_report)
        self._n_found = self._queue.n_waiting + self._queue.dropped.total()
        self._client: Any = None
        self._on_way: dict[int, _OnWay] = {}
        self._n_bytes = 0
        self._answers: deque[tuple[int, int, Exception | None]] = deque()
        self._generation = 0
        self._n_offered = 0
        self._n_arrived = 0
        self._n_repeated = 0
        self._dropped: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._is_closing = False
        self._stuck_topic = ""
        self._said = ""
        self._last_answer = time.monotonic()
        self._retry_at = 0.0
        self._close_at = 0.0
        self._thread = threading.Thread(target=self._run, name="kafka-producer", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why nothing gets through at the moment, in one line; empty where nothing is wrong."""
        return self._said

    @property
    def waiting_bytes(self) -> int:
        """What the waiting messages take in memory, or their spool on the disk, in bytes."""
        return self._queue.n_bytes

    def offer(self, message: Message) -> None:
        """Take a message; it is sent in its turn, or dropped and counted."""
        with self._guard:
            if self._is_closing:
                self._n_offered += 1
                self._dropped["closed"] += 1
                self._on_fate(message, "closed")
                return
            self._n_offered += 1
            self._queue.put(message)
        self._wake.set()

    def books(self) -> SendBalance:
        """Return the balance of messages."""
        with self._guard:
            dropped = self._dropped + self._queue.dropped
            return SendBalance(
                self._n_offered,
                self._n_found,
                self._n_arrived,
                self._queue.n_waiting,
                dict(dropped),
                self._n_repeated,
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is waiting any more; say whether that is so."""
        end = time.monotonic() + timeout_s
        while self._queue.n_waiting:
            if time.monotonic() >= end or not self._thread.is_alive():
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Send what still waits for at most ``close_s``; the rest stays in the spool or is counted. Callable twice."""
        with self._guard:
            if self._is_closing:
                return
            self._is_closing = True
            self._close_at = time.monotonic() + self._settings.close_s
        self._wake.set()
        self._thread.join(self._settings.close_s + 3 * _ATTEMPT_S + _CLIENT_CLOSE_S + 5.0)
        self._queue.close()

    def _run(self) -> None:
        """Be the thread that sends."""
        try:
            while not self._is_over():
                self._settle_answers()
                self._queue.tick()
                if self._client is None and not self._open():
                    self._wait(_RETRY_S)
                    continue
                if not self._send_some():
                    self._wait(_IDLE_S)
                self._watch()
        except Exception:  # noqa: BLE001 (the top of a thread)
            _log.exception("kafka: the sender failed, nothing more is sent")
            self._said = "the sender failed"
        finally:
            self._settle_answers()
            self._drop_client()

    def _is_over(self) -> bool:
        if not self._is_closing:
            return False
        return not self._queue.n_waiting or time.monotonic() >= self._close_at

    def _wait(self, seconds: float) -> None:
        if self._is_closing:
            seconds = min(seconds, 0.02)
        self._wake.wait(seconds)
        self._wake.clear()

    def _open(self) -> bool:
        """Connect, make or check the topics; say what is wrong once, not again while it lasts.

        Passwords are read anew: somebody may have changed them.
        """
        if time.monotonic() < self._retry_at:
            return False
        connect_s = min(self._settings.connect_s, _ATTEMPT_S)
        try:
            self._arguments = producer_arguments(self._settings)
            ensure_topics(self._settings.model_copy(update={"connect_s": connect_s}), self._kinds)
            self._client = connect(
                lambda left_s: KafkaProducer(**self._arguments, bootstrap_timeout_ms=left_s * 1e3),
                self._arguments,
                connect_s,
            )
        except _TRY_LATER as error:
            self._say(self._in_words(error))
            self._retry_at = time.monotonic() + _RETRY_S
            return False
        self._last_answer = time.monotonic()
        return True

    def _send_some(self) -> bool:
        """Hand messages to the client while there are any and not too many are on their way; say whether it did."""
        sent = False
        while len(self._on_way) < _MAX_ON_WAY and self._n_bytes < _MAX_ON_WAY_BYTES:
            taken = self._queue.take()
            if taken is None:
                return sent
            number, message = taken
            if not self._on_way:
                self._last_answer = time.monotonic()
            try:
                future = self._client.send(
                    message.topic,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers),
                    timestamp_ms=message.timestamp_ms,
                )
            except KafkaTimeoutError:  # nobody has told the client yet where the topic is
                self._queue.put_back(number)
                self._stuck_topic = message.topic
                return False
            except (KafkaError, AssertionError, TypeError, ValueError) as error:
                self._refuse(number, message, error)
                continue
            self._stuck_topic = ""
            self._on_way[number] = _OnWay(message, size_of(message))
            self._n_bytes += self._on_way[number].size
            future.add_callback(self._answer, self._generation, number)
            future.add_errback(self._fail, self._generation, number)
            sent = True
        return sent

    def _answer(self, generation: int, number: int, _record: Any) -> None:
        """Be told by the client's thread that a message arrived."""
        self._answers.append((generation, number, None))
        self._wake.set()

    def _fail(self, generation: int, number: int, error: Exception) -> None:
        """Be told by the client's thread that it gave a message up."""
        self._answers.append((generation, number, error))
        self._wake.set()

    def _settle_answers(self) -> None:
        """Book what arrived; begin anew with the first message that the client gave up."""
        given_up: Exception | None = None
        while self._answers:
            generation, number, error = self._answers.popleft()
            one = self._on_way.pop(number, None) if generation == self._generation else None
            if one is None:
                continue
            self._n_bytes -= one.size
            self._last_answer = time.monotonic()
            if error is None:
                with self._guard:
                    self._n_arrived += 1
                    self._queue.done(number)
                self._on_fate(one.message, None)
                self._say("")
            elif type(error) in _REFUSED:
                self._refuse(number, one.message, error)
            else:
                given_up = error
        if given_up is not None:
            self._say(self._in_words(given_up))
            self._begin_anew()

    def _refuse(self, number: int, message: Message, error: Exception) -> None:
        """Count a message that no repetition would bring there."""
        reason = _REFUSED.get(type(error), "refused")
        with self._guard:
            self._queue.done(number)
            if not self._dropped[reason]:
                _log.error("kafka: a message for topic %s is dropped (%s): %s", message.topic, reason, error)
            self._dropped[reason] += 1
        self._on_fate(message, reason)

    def _begin_anew(self) -> None:
        """Drop the client with all that it holds; whatever has not arrived is sent again, in order."""
        generation = self._generation
        self._drop_client()
        while self._answers:
            of, number, error = self._answers.popleft()
            one = self._on_way.pop(number, None) if error is None and of == generation else None
            if one is not None:
                with self._guard:
                    self._n_arrived += 1
                    self._queue.done(number)
                self._on_fate(one.message, None)
        self._on_way.clear()
        self._n_bytes = 0
        with self._guard:
            self._n_repeated += self._queue.rewind()
        self._retry_at = time.monotonic() + 0.1

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        self._generation += 1
        if client is None:
            return
        if self._on_way:  # close() alone waits for these messages, raises, and leaves its thread running
            client._sender.force_close()
        with suppress(KafkaError):
            client.close(timeout=_CLIENT_CLOSE_S)

    def _watch(self) -> None:
        """Ask why, where messages wait for a topic, or are on their way and nobody answers."""
        now = time.monotonic()
        is_stalled = bool(self._on_way) and now - self._last_answer >= _STALLED_S
        if not (is_stalled or self._stuck_topic) or now < self._retry_at or self._is_closing:
            return
        self._retry_at = now + _PROBE_EVERY_S
        try:
            if producer_arguments(self._settings) != self._arguments:  # the client goes on with the old password
                self._begin_anew()
                return
            away = why_away(self._arguments)
            if away is not None:
                self._say(away)
                return
            made = ensure_topics(self._settings, self._kinds)
            if self._stuck_topic and self._stuck_topic not in made:  # the spool may hold those of other settings
                made += ensure_topic_named(self._settings, self._stuck_topic)
        except _TRY_LATER as error:
            self._say(self._in_words(error))
            return
        if made:
            _log.warning("kafka: the brokers did not have all topics; these were made: %s", ", ".join(made))
        elif self._stuck_topic:
            shown = ",".join(self._settings.servers)
            self._say(f"topic {self._stuck_topic} must be on {shown}, got no partition of it")

    def _in_words(self, error: Exception) -> str:
        """Return one line about what went wrong."""
        return explain(error, self._arguments) if isinstance(error, KafkaError) else str(error)

    def _say(self, problem: str) -> None:
        """Tell a problem, and its end, once."""
        if problem == self._said:
            return
        if problem:
            _log.warning("kafka: %s (messages wait and are counted)", problem)
        else:
            _log.warning("kafka: the brokers answer again, %d messages wait", self._queue.n_waiting)
        self._said = problem


def _make_queue(settings: KafkaSettings, on_dropped: Dropped[Message]) -> Waiting[Message]:
    if settings.overflow == "spool":
        folder, max_bytes = Path(str(settings.spool_dir)).expanduser(), round(settings.spool_mb * 1e6)
        return Spool(folder, max_bytes, settings.spool_overflow, form=MESSAGES, section="kafka", on_dropped=on_dropped)
    return MemoryQueue(round(settings.buffer_mb * 1e6), settings.overflow, size_of=size_of, on_dropped=on_dropped)
