"""Alarms with hysteresis: one begins when enough windows in a row agree, and ends when enough of them are quiet."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_ALARM, _SINCE, _FIRST, _ONSET = range(4)


class EpisodeTracker:
    """Follow one arm's score from check to check.

    An alarm begins when the score was above 1 at every check from one window to another one that ends ``n_confirm - 1``
    whole windows later, so that the windows at both ends share no row; it ends likewise below ``leave``.

    Parameters
    ----------
    leave : float
    n_confirm : int
        Windows without overlap.
    n_blocks : int
        Blocks of a window.
    """

    def __init__(self, *, leave: float, n_confirm: int, n_blocks: int) -> None:
        self._leave = leave
        self._distance = (n_confirm - 1) * n_blocks
        self._place = np.array([0, -1, -1, -1], np.int64)
        self._peak = np.zeros(1)

    @property
    def is_alarm(self) -> bool:
        """Whether an alarm is going on."""
        return bool(self._place[_ALARM])

    @property
    def first_block(self) -> int:
        """Block of the first check that was above the threshold, of the alarm or of what may become one."""
        return int(self._place[_FIRST])

    @property
    def onset_block(self) -> int:
        """Block at which the alarm began."""
        return int(self._place[_ONSET])

    @property
    def peak(self) -> float:
        """The largest score of the alarm."""
        return float(self._peak[0])

    def step(self, block: int, score: float, *, may_begin: bool = True) -> Literal["onset", "end"] | None:
        """Take the score at the end of a block; NaN (no score) breaks what was about to begin or end."""
        place = self._place
        if self.is_alarm:
            self._peak[0] = score if score > self.peak else self.peak
            counts = score < self._leave
        else:
            counts = may_begin and score > 1.0
        if not counts:
            place[_SINCE] = -1
            return None
        if place[_SINCE] < 0:
            place[_SINCE] = block
        if block - place[_SINCE] < self._distance:
            return None
        if self.is_alarm:
            self.clear()
            return "end"
        place[:] = 1, -1, place[_SINCE], block
        self._peak[0] = score
        return "onset"

    def clear(self) -> None:
        """Leave the alarm; where it began stays readable until the next one."""
        self._place[_ALARM] = 0
        self._place[_SINCE] = -1

    def interrupt(self) -> None:
        """Forget what was about to begin or end: the rows before are gone."""
        self._place[_SINCE] = -1

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The state: where it stands, and the peak."""
        return self._place, self._peak
