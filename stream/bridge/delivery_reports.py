"""What became of the rows and markers in messages, told one by one by a producer."""

from __future__ import annotations

import threading
from collections import Counter

from neuroloop.config.errors import WireError
from neuroloop.stream.bridge.accounting import Ledger
from neuroloop.stream.wire.frames import decode_frame
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topics import Topics


class DeliveryReports:
    """Count the rows of sample frames, and other messages as one each; is the ``on_report`` of a producer.

    Parameters
    ----------
    topics : Topics
    session : int
        Frames of other sessions, found in a spool, are not counted.
    """

    def __init__(self, topics: Topics, session: int) -> None:
        self._topics = topics
        self._session = session
        self._arrived: Counter[str] = Counter()
        self._lost: dict[str, Counter[str]] = {}
        self._guard = threading.Lock()

    def __call__(self, message: Message, reason: str | None) -> None:
        """Take notice: of a message that arrived (no reason), or that is lost."""
        n = self._n_in(message)
        with self._guard:
            if reason is None:
                self._arrived[message.topic] += n
            else:
                self._lost.setdefault(message.topic, Counter())[reason] += n

    def enter(self, ledger: Ledger, topic: str, *, is_kept: bool) -> None:
        """Put what is known of a topic into a ledger.

        Parameters
        ----------
        ledger : Ledger
        topic : str
        is_kept : bool
            What neither arrived nor was told to be lost waits in a spool for the next start.
        """
        with self._guard:
            ledger.n_out = self._arrived[topic]
            ledger.dropped = Counter(self._lost.get(topic, Counter()))
        if is_kept:
            ledger.waiting = max(0, ledger.n_in - ledger.n_out - ledger.dropped.total())

    def n_lost(self, topic: str) -> int:
        """Return how many rows or messages of a topic are lost."""
        with self._guard:
            return sum(self._lost.get(topic, Counter()).values())

    def _n_in(self, message: Message) -> int:
        is_of_session = f"/{self._session}/".encode() in dict(message.headers).get("ce_id", b"")
        if not is_of_session:
            return 0
        if message.topic != self._topics.samples:
            return 1
        try:
            return len(decode_frame(message.value))
        except WireError:
            return 0
