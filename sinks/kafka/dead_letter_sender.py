"""Messages that nobody could read: kept as they were, with headers that say why and where they come from."""

from __future__ import annotations

import logging
from collections import Counter

from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.wire.dead_letters import DeadLetter, dead_letter_message
from neuroloop.stream.wire.topics import Topics

_log = logging.getLogger("neuroloop.kafka")


class DeadLetterSender:
    """Sends what does not decode to ``<prefix>.dead``; call it with each letter.

    Parameters
    ----------
    producer : Producer
    topics : Topics
    max_bytes : int
        The largest message; a longer value is cut, which a header says.
    """

    def __init__(self, producer: Producer, topics: Topics, max_bytes: int) -> None:
        self._producer = producer
        self._topics = topics
        self._max_bytes = max_bytes
        self.n_dead_letters: Counter[str] = Counter()
        """How many, by the topic they come from."""

    def __call__(self, letter: DeadLetter) -> None:
        """Pass one on; the first of a topic is said in the log."""
        if not self.n_dead_letters[letter.topic]:
            _log.warning(
                "kafka: a message of %s (partition %d, offset %d) cannot be read and goes to %s: %s",
                letter.topic, letter.partition, letter.offset, self._topics.dead, letter.why,
            )  # fmt: skip
        self.n_dead_letters[letter.topic] += 1
        self._producer.offer(dead_letter_message(self._topics, letter, self._max_bytes))
