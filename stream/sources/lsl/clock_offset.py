"""How far a sender's clock is from ours."""

from __future__ import annotations

from typing import Any

import pylsl
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeout

from neuroloop.stream.sources.lsl.network import FoundStream


class ClockOffset:
    """Measure one sender's clock again and again, over an inlet of its own that receives no samples.

    For the cold process: liblsl asks the sender every few seconds, from a thread of its own.

    Parameters
    ----------
    found : FoundStream
    """

    def __init__(self, found: FoundStream) -> None:
        self._inlet: Any = pylsl.StreamInlet(found.handle, max_buflen=1, recover=False)

    def measure(self, timeout_s: float = 5.0) -> float | None:
        """Return the seconds to add to the sender's stamps to get our clock.

        The first call takes half a second, later ones return at once what the last measurement gave.

        Returns
        -------
        float or None
            None if the sender is gone or does not answer in time, and after `close`.
        """
        if self._inlet is None:
            return None
        try:
            return float(self._inlet.time_correction(timeout=timeout_s))
        except (LostError, LslTimeout):
            return None

    def close(self) -> None:
        """End the measurement; may be called twice."""
        self._inlet = None
