"""What waits for its receiver, in memory: bounded by bytes, in order, with a named policy for more."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Generic, Literal, Protocol, TypeVar

T = TypeVar("T")
Dropped = Callable[[T, str], None]
"""Is told of a message that is lost, and why; must not wait, nor ask the queue anything."""


def tell_nobody(message: object, reason: str) -> None:
    """Be the `Dropped` of a queue whose losses are only counted."""


class Waiting(Protocol[T]):
    """Messages in order between who makes them and who sends them; safe for one thread on each side."""

    @property
    def n_waiting(self) -> int:
        """Messages that are not dealt with, those on their way included."""
        ...

    @property
    def n_bytes(self) -> int:
        """What they take in memory, or on the disk, in bytes."""
        ...

    @property
    def dropped(self) -> Counter[str]:
        """Messages that were lost, by reason."""
        ...

    def put(self, message: T) -> None:
        """Take a message; never waits for the receiver."""
        ...

    def take(self) -> tuple[int, T] | None:
        """Return the next message that is not on its way, and its number."""
        ...

    def put_back(self, number: int) -> None:
        """Let the message that was taken last be the next again."""
        ...

    def done(self, number: int) -> None:
        """Forget a message: it has arrived, or never will."""
        ...

    def rewind(self) -> int:
        """Let everything that is on its way be taken again, in order; return how many."""
        ...

    def tick(self) -> None:
        """Do what is due now and then."""
        ...

    def close(self) -> None:
        """End; what is only in memory is lost and counted."""
        ...


class MemoryQueue(Generic[T]):
    """Waiting messages in memory; implements `Waiting`.

    Parameters
    ----------
    max_bytes : int
        How much may wait, messages on their way included.
    policy : {"drop_oldest", "drop_newest"}
        Which messages are dropped for want of room. Those on their way are never dropped.
    size_of : callable
        Returns about how much memory a message takes, in bytes.
    on_dropped : callable
        Told of each message that is lost.
    """

    def __init__(
        self,
        max_bytes: int,
        policy: Literal["drop_oldest", "drop_newest"],
        *,
        size_of: Callable[[T], int],
        on_dropped: Dropped[T] = tell_nobody,
    ) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes must be above 0, got {max_bytes!r}")
        self.dropped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._policy = policy
        self._size_of = size_of
        self._on_dropped = on_dropped
        self._queue: deque[tuple[int, T]] = deque()
        self._on_way: dict[int, T] = {}
        self._n_bytes = 0
        self._next = 0
        self._guard = threading.Lock()

    @property
    def n_waiting(self) -> int:
        """Messages that are not dealt with."""
        with self._guard:
            return len(self._queue) + len(self._on_way)

    @property
    def n_bytes(self) -> int:
        """What they take, in bytes."""
        return self._n_bytes

    def put(self, message: T) -> None:
        """Take a message; for want of room it, or older ones, are dropped and counted."""
        size = self._size_of(message)
        with self._guard:
            if self._policy == "drop_oldest":
                while self._queue and self._n_bytes + size > self._max_bytes:
                    oldest = self._queue.popleft()[1]
                    self._n_bytes -= self._size_of(oldest)
                    self._drop(oldest, "buffer full")
            if self._n_bytes + size > self._max_bytes:
                self._drop(message, "buffer full")
                return
            self._queue.append((self._next, message))
            self._next += 1
            self._n_bytes += size

    def take(self) -> tuple[int, T] | None:
        """Return the next message and its number; None if there is none."""
        with self._guard:
            if not self._queue:
                return None
            number, message = self._queue.popleft()
            self._on_way[number] = message
            return number, message

    def put_back(self, number: int) -> None:
        """Let the message that was taken last be the next again."""
        with self._guard:
            self._queue.appendleft((number, self._on_way.pop(number)))

    def done(self, number: int) -> None:
        """Forget a message."""
        with self._guard:
            message = self._on_way.pop(number, None)
            if message is not None:
                self._n_bytes -= self._size_of(message)

    def rewind(self) -> int:
        """Let everything that is on its way be taken again; return how many."""
        with self._guard:
            again: Iterable[tuple[int, T]] = sorted(self._on_way.items(), reverse=True)
            self._queue.extendleft(again)
            n_again = len(self._on_way)
            self._on_way.clear()
            return n_again

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Count what never left as lost."""
        with self._guard:
            for message in (*self._on_way.values(), *(message for _, message in self._queue)):
                self._drop(message, "closed")
            self._queue.clear()
            self._on_way.clear()
            self._n_bytes = 0

    def _drop(self, message: T, reason: str) -> None:
        """Count a message that is lost, and tell of it."""
        self.dropped[reason] += 1
        self._on_dropped(message, reason)
