"""The course of the drift score, one line for each new score: ``drift.csv`` of a run folder."""

from __future__ import annotations

import logging
import math
from pathlib import Path

DRIFT_FILE = "drift.csv"
_HEADER = "sample,score\n"
_log = logging.getLogger("neuroloop.drift")


class DriftLog:
    """Append the score of the monitors when it has changed; for drawing, not for computing.

    A live run looks a few times a second, a replay after every block, so that the sample stands at or shortly behind
    the check that gave the score.

    Parameters
    ----------
    path : Path
        Made with a header where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = math.nan
        self._has_failed = False

    def add(self, sample: int, score: float) -> None:
        """Take the newest score; raises nothing, a disk that does not take it is said once.

        Parameters
        ----------
        sample : int
            Number of the newest sample.
        score : float
            1 at the threshold; NaN before there is a baseline.
        """
        if math.isnan(score) or score == self._last:
            return
        self._last = score
        try:
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(f"{'' if file.tell() else _HEADER}{sample},{score!r}\n")
        except OSError as error:
            if not self._has_failed:
                _log.error("out must be a writable folder, got %r: %s", str(self._path.parent), error.strerror)
            self._has_failed = True
