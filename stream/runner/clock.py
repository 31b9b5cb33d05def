"""The sender's clock, watched from the cold process by a thread of its own."""

from __future__ import annotations

import threading

from stream.contracts import StreamLost
from stream.runner.sourcing import SourcePlan, open_clock

_EVERY_S = 5.0


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
        while not self._stopped.is_set():
            try:
                clock = open_clock(self._plan)
            except StreamLost:
                clock = None
            while clock is not None and not self._stopped.is_set():
                offset = clock.measure()
                if offset is None:
                    clock.close()
                    break
                self.offset_s = offset
                self._stopped.wait(_EVERY_S)
            self._stopped.wait(_EVERY_S)

    def close(self) -> None:
        """Stop measuring; may be called twice."""
        self._stopped.set()
