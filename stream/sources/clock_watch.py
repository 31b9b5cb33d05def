"""A sender's clock, watched by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from neuroloop.config.errors import StreamLost

_EVERY_S = 5.0
_AGAIN_S = 0.5
_log = logging.getLogger("neuroloop.source")


class SenderClock(Protocol):
    """What turns a sender's stamps into another clock."""

    def measure(self) -> float | None:
        """Return the seconds to add to the stamps; None if nobody answers."""
        ...

    def close(self) -> None:
        """End the measurement; may be called twice."""
        ...


class ClockWatch:
    """Measure a clock's offset every few seconds; ``offset_s`` is ``None`` until the first answer.

    Parameters
    ----------
    open_clock : callable
        Begins to measure; returns None where the stamps have nothing to do with a clock. Called again in the thread
        when the sender no longer answers.
    """

    def __init__(self, open_clock: Callable[[], SenderClock | None]) -> None:
        self._open_clock = open_clock
        self.offset_s: float | None = None
        """The newest answer."""
        self._is_closed = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="neuroloop-clock", daemon=True)

    def start(self, timeout_s: float = 0.0) -> float | None:
        """Begin to measure; wait at most so long for the first answer and return it."""
        self._thread.start()
        end = time.perf_counter() + timeout_s
        while self.offset_s is None and time.perf_counter() < end and self._thread.is_alive():
            time.sleep(0.01)
        return self.offset_s

    def renew(self) -> None:
        """Open the clock anew: the stream has come back from another sender."""
        self._woken.set()

    def close(self) -> None:
        """Stop measuring; may be called twice."""
        self._is_closed = True
        self._woken.set()

    def _watch(self) -> None:
        """Be the thread; a clock that cannot be measured costs the ages of the events, not the run."""
        try:
            while not self._is_closed:
                self._woken.clear()
                if not self._measure():
                    return
                self._woken.wait(_AGAIN_S)
        except (RuntimeError, OSError):  # what liblsl raises
            _log.exception("the sender's clock is not measured any more")

    def _measure(self) -> bool:
        """Measure as long as the sender answers; say whether there is a clock at all."""
        try:
            clock = self._open_clock()
        except StreamLost:
            return True
        if clock is None:
            return False
        while not (self._is_closed or self._woken.is_set()):
            offset = clock.measure()
            if offset is None:
                break
            self.offset_s = offset
            self._woken.wait(_EVERY_S)
        clock.close()
        return True
