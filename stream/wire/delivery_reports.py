"""What became of messages, told one by one by whoever sends them, and the balance of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from neuroloop.config.errors import WireError
from neuroloop.stream.wire.frames import decode_frame
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topics import Topics

OnReport = Callable[[Message, str | None], None]
"""Is told what became of a message: None if it arrived, else why it is lost."""


@dataclass
class Balance:
    """One kind of thing: ``n_in = n_out + waiting + dropped``, by reason."""

    n_in: int = 0
    n_out: int = 0
    waiting: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is missing and nothing made up."""
        return self.n_in == self.n_out + self.waiting + self.dropped.total()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "in": self.n_in,
            "out": self.n_out,
            "waiting": self.waiting,
            "dropped": dict(sorted(self.dropped.items())),
            "balanced": self.is_balanced,
        }

    def line(self, what: str, out: str) -> str:
        """Return the balance in words."""
        text = f"{what} in {self.n_in} = {out} {self.n_out} + dropped {self.dropped.total()}"
        if self.waiting:
            text += f" + waiting {self.waiting}"
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        return f"{text} ({reasons})" if reasons else text


class DeliveryReports:
    """Count the rows of sample frames, and other messages as one each; is an `OnReport`.

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

    def enter(self, balance: Balance, topic: str, *, is_kept: bool) -> None:
        """Put what is known of a topic into a balance.

        Parameters
        ----------
        balance : Balance
        topic : str
        is_kept : bool
            What neither arrived nor was told to be lost waits in a spool for the next start.
        """
        with self._guard:
            balance.n_out = self._arrived[topic]
            balance.dropped = Counter(self._lost.get(topic, Counter()))
        if is_kept:
            balance.waiting = max(0, balance.n_in - balance.n_out - balance.dropped.total())

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
