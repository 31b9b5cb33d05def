"""The sender's clock, watched from the cold process by a thread of its own."""

from __future__ import annotations

import logging
import threading

from neuroloop.config.errors import StreamLost
from neuroloop.stream.live.live_source import SourcePlan

_EVERY_S = 5.0
_log = logging.getLogger("neuroloop.cold")


class ClockWatch:
    """Measure the clock offset every few seconds; ``offset_s`` is ``None`` until the first answer.

    Parameters
    ----------
    plan : SourcePlan
    """

    def __init__(self, plan: SourcePlan) -> None:
        self._plan = plan
        self.offset_s: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="neuroloop-clock", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        if not self._plan.is_played:
            self._thread.start()

    def _watch(self) -> None:
        """Be the thread; a clock that cannot be measured costs the ages of the events, not the run."""
        try:
            while not self._stopped.is_set():
                self._measure()
                self._stopped.wait(_EVERY_S)
        except (RuntimeError, OSError):  # what liblsl raises
            _log.exception("the sender's clock is not measured any more")

    def _measure(self) -> None:
        """Measure as long as the sender answers."""
        try:
            clock = self._plan.opener.open_clock()
        except StreamLost:
            return
        while clock is not None and not self._stopped.is_set():
            offset = clock.measure()
            if offset is None:
                clock.close()
                return
            self.offset_s = offset
            self._stopped.wait(_EVERY_S)

    def close(self) -> None:
        """Stop measuring; may be called twice."""
        self._stopped.set()
