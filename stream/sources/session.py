"""A live source over losses of its sender: reconnecting, and the markers that belong to it.

One set of rules for whoever reads a live stream, the hot process and the bridge: how long a sender that is gone is
looked for, when markers have to be there first, how long the last ones are waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.contracts.protocols import MarkerSource, Source

_log = logging.getLogger("neuroloop.source")
_REOPEN_S = 0.5
_MARKERS_SETTLE_S = 3.0
_LAST_MARKERS_S = 0.3
_LAST_POLL_S = 0.02


class LiveSource(Source, Protocol):
    """A source that may be lost and found again."""

    def reopen(self, timeout_s: float) -> None:
        """Look for the lost sender, at most so long, and go on with it.

        Raises
        ------
        StreamLost
            It is not back yet.
        StreamMismatch
            It came back as another stream.
        """
        ...


class LiveMarkers(MarkerSource, Protocol):
    """The markers beside a live source."""

    @property
    def senders(self) -> tuple[object, ...]:
        """Who may still have something to say."""
        ...

    @property
    def n_errors(self) -> int:
        """Failures of marker streams so far; each was said once."""
        ...

    def settle(self, timeout_s: float) -> bool:
        """Wait, at most so long, until all that is wanted is connected, and what was said is here; say whether it is.

        Called before old samples are read: their markers must be there first.
        """
        ...

    def close(self) -> None:
        """End all connections; may be called twice."""
        ...


class SourceSession:
    """One live source with its markers; `source` is read directly, this is for everything around it.

    Parameters
    ----------
    source : LiveSource
    markers : LiveMarkers, optional
    reconnect_s : float
        How long to look for a sender that is gone, in seconds.
    is_stopped : callable
        Asked while waiting for it.
    clock : callable
        As ``time.perf_counter``.
    """

    def __init__(
        self,
        source: LiveSource,
        markers: LiveMarkers | None,
        *,
        reconnect_s: float,
        is_stopped: Callable[[], bool],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.source = source
        self.markers = markers
        self._reconnect_s = reconnect_s
        self._is_stopped = is_stopped
        self._clock = clock

    def recover(self, *, until: float | None = None, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Look for the lost sender until it is back; say whether it is.

        It is not when the time is up, somebody stopped the run, or it came back as another stream; which of them is
        logged.

        Parameters
        ----------
        until : float, optional
            When to give up at the latest, on the clock.
        meanwhile : callable
            Called before each look, at least twice a second.
        """
        deadline = self._clock() + self._reconnect_s
        if until is not None:
            deadline = min(deadline, until)
        while not self._is_stopped() and self._clock() < deadline:
            meanwhile()
            try:
                self.source.reopen(_REOPEN_S)
            except StreamLost:
                continue
            except StreamMismatch as other:
                _log.error("%s", other)
                return False
            return True
        if not self._is_stopped():
            _log.warning("stream %r did not come back", self.source.info.name)
        return False

    def read_markers(self) -> list[Marker]:
        """Return the markers that came since the last call; never waits."""
        return self.markers.read() if self.markers is not None else []

    def settle(self) -> list[Marker]:
        """Wait until the markers of samples that waited somewhere are here, and return them."""
        if self.markers is None:
            return []
        self.markers.settle(_MARKERS_SETTLE_S)
        return self.markers.read()

    def last_markers(self) -> Iterator[list[Marker]]:
        """Return what still comes for a moment after the last sample, if anybody is there to send it."""
        if self.markers is None or not self.markers.senders:
            return
        end = self._clock() + _LAST_MARKERS_S
        while self._clock() < end:
            yield self.markers.read()
            time.sleep(_LAST_POLL_S)

    def close(self) -> None:
        """End the connections; may be called twice."""
        self.source.close()
        if self.markers is not None:
            self.markers.close()


def settle_markers(markers: LiveMarkers | None) -> None:
    """Wait until the wanted markers are connected; call it before the samples are subscribed to."""
    if markers is not None:
        markers.settle(_MARKERS_SETTLE_S)
