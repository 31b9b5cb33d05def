"""From the clock of an LSL sender to seconds since 1970."""

from __future__ import annotations

import time
from collections.abc import Callable

import pylsl

from neuroloop.stream.sources.lsl.clock_offset import ClockOffset
from neuroloop.stream.sources.lsl.network import FoundStream


class EpochClock:
    """Measure what turns a sender's stamps into seconds since 1970, for a `ClockWatch`.

    That is LSL's ``time_correction`` (sender to this machine, about 0.1 ms on one network) plus the difference between
    this machine's wall clock and its LSL clock; as true as the wall clock is.

    Parameters
    ----------
    found : FoundStream
        The sender.
    on_correction : callable
        Takes LSL's part of it: what is added to the stamps to get this machine's LSL clock.
    """

    def __init__(self, found: FoundStream, on_correction: Callable[[float], None]) -> None:
        self._clock = ClockOffset(found)
        self._on_correction = on_correction

    def measure(self) -> float | None:
        """Return the seconds to add to the stamps; None if the sender does not answer."""
        correction = self._clock.measure()
        if correction is None:
            return None
        self._on_correction(correction)
        return correction + wall_minus_lsl()

    def close(self) -> None:
        """End the measurement; may be called twice."""
        self._clock.close()


def wall_minus_lsl() -> float:
    """Return this machine's wall clock minus its LSL clock, in seconds."""
    before = pylsl.local_clock()
    wall = time.time()
    return wall - float(before + pylsl.local_clock()) / 2
