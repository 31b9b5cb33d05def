"""From the clock of an LSL sender to seconds since 1970."""

from __future__ import annotations

import logging
import threading
import time

import pylsl

from neuroloop.stream.sources.lsl.clock_offset import ClockOffset
from neuroloop.stream.sources.lsl.network import FoundStream

_log = logging.getLogger("neuroloop.bridge")
_EVERY_S = 5.0


class EpochClock:
    """Measure what turns a sender's stamps into seconds since 1970, every few seconds, in a thread of its own.

    That is LSL's ``time_correction`` (sender to this machine, about 0.1 ms on one network) plus the difference between
    this machine's wall clock and its LSL clock; as true as the wall clock is.

    Parameters
    ----------
    found : FoundStream
        The sender.
    """

    def __init__(self, found: FoundStream) -> None:
        self.offset_s: float | None = None
        """The newest answer; None until there is one."""
        self.correction_s: float | None = None
        """LSL's part of it: what is added to the stamps to get this machine's LSL clock."""
        self._found = found
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="neuroloop-epoch", daemon=True)

    def start(self, timeout_s: float) -> float | None:
        """Begin to measure; wait at most so long for the first answer and return it."""
        self._thread.start()
        end = time.perf_counter() + timeout_s
        while self.offset_s is None and time.perf_counter() < end and self._thread.is_alive():
            self._stopped.wait(0.01)
        return self.offset_s

    def follow(self, found: FoundStream) -> None:
        """Measure this sender from now on: the stream has come back."""
        self._found = found

    def close(self) -> None:
        """Stop measuring; may be called twice."""
        self._stopped.set()

    def _watch(self) -> None:
        """Be the thread; a clock that cannot be measured costs the times of the records, not the bridge."""
        try:
            while not self._stopped.is_set():
                found = self._found
                clock = ClockOffset(found)
                while found is self._found and not self._stopped.is_set():
                    correction = clock.measure()
                    if correction is None:
                        break
                    self.correction_s = correction
                    self.offset_s = correction + wall_minus_lsl()
                    self._stopped.wait(_EVERY_S)
                clock.close()
                self._stopped.wait(0.2)
        except (RuntimeError, OSError):  # what liblsl raises
            _log.exception("the sender's clock is not measured any more")


def wall_minus_lsl() -> float:
    """Return this machine's wall clock minus its LSL clock, in seconds."""
    before = pylsl.local_clock()
    wall = time.time()
    return wall - float(before + pylsl.local_clock()) / 2
