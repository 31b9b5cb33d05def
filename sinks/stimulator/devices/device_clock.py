"""A device's own clock, as far as its answers tell: never taken to be further than it is known to be."""

from __future__ import annotations

from collections import deque

_KEPT = 16
"""Exchanges that are looked at: at one a second, clocks that differ by 100 ppm part by 1.6 ms over them."""
_DRIFT_NS = 10_000_000
"""Two clocks that run alike agree to within this over the exchanges that are kept."""


class DeviceClock:
    """Relate a device's clock to ours by exchanges: sent by ours, acted upon by the device's, read by ours.

    What the device's clock said between our two moments bounds how far it is ahead: by no less than what it said less
    our second moment, by no more than what it said less our first. The lesser one is taken, which is half a round trip
    on the safe side, and of the exchanges that are kept the narrowest.
    """

    def __init__(self) -> None:
        self._least: deque[int] = deque(maxlen=_KEPT)
        self._most: deque[int] = deque(maxlen=_KEPT)

    def note(self, sent_ns: int, acted_ns: int, read_ns: int) -> None:
        """Take an exchange."""
        self._least.append(acted_ns - read_ns)
        self._most.append(acted_ns - sent_ns)

    @property
    def is_steady(self) -> bool:
        """Whether all exchanges can be of one clock that runs as fast as ours."""
        return not self._least or max(self._least) <= min(self._most) + _DRIFT_NS

    def not_after_ns(self, ours_ns: int) -> int:
        """Return a moment of ours on the device's clock, never a later one; there must have been an exchange."""
        return ours_ns + max(self._least)

    def trip_ns(self, sent_ns: int, acted_ns: int) -> int:
        """Return how long after it was sent a command was acted upon, never too little."""
        return max(0, acted_ns - max(self._least) - sent_ns)
