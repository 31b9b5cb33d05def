"""Messages that nobody could read, on their way to the topic for them: connected only once there is one."""

from __future__ import annotations

import logging
import time
from collections import Counter

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.dead_letter_sender import DeadLetterSender
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.sources.kafka.kafka_state import SourceLink
from neuroloop.stream.wire.dead_letters import DeadLetter, unpack_dead_letter
from neuroloop.stream.wire.delivery_reports import Balance
from neuroloop.stream.wire.topics import Topics

_log = logging.getLogger("neuroloop.kafka")
_BUFFER_MB = 8.0
_CLOSE_S = 2.0
_AT_ONCE_LETTERS = 256
_PAUSE_S = 0.05


class DeadLetterQueue:
    """Sends each letter that it is called with to ``<prefix>.dead``; never waits, never raises.

    A producer of its own sends: letters wait in memory, at most 8 MB and the newest dropped, and neither make a topic
    nor need the right to write where there are none. They never go into a spool, which is for what was measured.

    Parameters
    ----------
    settings : KafkaSettings
    """

    def __init__(self, settings: KafkaSettings) -> None:
        changes = {
            "overflow": "drop_newest",
            "spool_dir": None,
            "buffer_mb": min(settings.buffer_mb, _BUFFER_MB),
            "close_s": min(settings.close_s, _CLOSE_S),
        }
        self._settings = settings.model_copy(update=changes)
        self._producer: Producer | None = None
        self._dead_letters: DeadLetterSender | None = None
        self._n_refused = 0

    def __call__(self, letter: DeadLetter) -> None:
        """Take a letter."""
        if self._dead_letters is None and not self._n_refused:
            self._open()
        if self._dead_letters is None:
            self._n_refused += 1
        else:
            self._dead_letters(letter)

    def books(self) -> Balance:
        """Return the balance of letters."""
        if self._producer is None:
            return Balance(self._n_refused, dropped=Counter({"refused": self._n_refused} if self._n_refused else {}))
        books = self._producer.books()
        return Balance(books.offered, books.arrived, books.waiting, Counter(books.dropped))

    def close(self) -> None:
        """Send what still waits, for at most 2 s; may be called twice."""
        if self._producer is not None:
            self._producer.close()

    def _open(self) -> None:
        try:
            self._producer = Producer(self._settings, ("dead",))
        except NeuroloopError as error:  # the password has gone from where the settings say
            _log.error("kafka: what cannot be read is only counted: %s", error)
            return
        topics = Topics(self._settings.prefix)
        self._dead_letters = DeadLetterSender(self._producer, topics, self._settings.max_message_bytes)


class DeadLetterCarrier:
    """Takes what the process that reads from Kafka could not read out of its ring and sends it.

    What is not settled when this process dies comes again from the ring, as far as it reaches.

    Parameters
    ----------
    link : SourceLink
    settings : KafkaSettings

    Raises
    ------
    RuntimeError
        If a living process takes them already.
    """

    def __init__(self, link: SourceLink, settings: KafkaSettings) -> None:
        self._link = link
        self._reader = link.reader()
        self._box = DeadLetterQueue(settings)
        self._before = {name: int(link.numbers(name)[0]) for name in ("sent", "dropped")}

    def run(self) -> None:
        """Carry until the reading process has closed its ring or died."""
        while not self._reader.is_ended:
            self.drain()
            time.sleep(_PAUSE_S)
        self.close()

    def drain(self) -> None:
        """Take what the ring holds; note what is settled."""
        while True:
            taken = self._reader.read(_AT_ONCE_LETTERS)
            if not taken.records:
                break
            for record in taken.records:
                self._box(unpack_dead_letter(record))
        self._settle()

    def close(self) -> None:
        """Take the rest, wait for what is on its way for at most 2 s; may be called twice."""
        self.drain()
        self._box.close()
        self._settle()

    def _settle(self) -> None:
        """Say of all that was taken what became of it, where that is known."""
        books = self._box.books()
        if books.waiting:
            return
        self._link.numbers("overwritten")[0] = self._reader.n_lost
        self._link.numbers("sent")[0] = self._before["sent"] + books.n_out
        self._link.numbers("dropped")[0] = self._before["dropped"] + books.dropped.total()
        self._reader.commit()
