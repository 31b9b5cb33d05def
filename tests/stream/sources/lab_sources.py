"""Sources as a lab would write them: made when asked for, they do what the test has put on the list."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroloop.config.errors import StreamEnded
from neuroloop.config.source import OwnSourceSettings
from neuroloop.stream.contracts.chunks import StreamInfo

PLAN: list[Any] = []
"""What reading gives: rows, or an error to raise."""
MADE: list[str] = []
"""What happened."""
INFO = StreamInfo("lab", "EEG", "", 100.0, ("a", "b"))


class Listed:
    """Gives what is on the list, then nothing more."""

    class Settings(OwnSourceSettings):
        """Its own keys; ``path`` is one of a kind that is built in, too."""

        port: int = 1
        path: int = 3  # type: ignore[assignment]  # its own meaning

    def __init__(self, settings: Any) -> None:
        if PLAN and PLAN[0] == "refuse":
            PLAN.pop(0)
            raise ConnectionRefusedError("nobody there")
        self.info = PLAN.pop(0) if PLAN and isinstance(PLAN[0], (StreamInfo, str)) else INFO
        MADE.append("open")

    def read(self, timeout_s: float) -> Any:
        if not PLAN:
            return None
        found = PLAN.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        MADE.append("close")


class Counts(Listed):
    """Brings sample numbers along."""

    has_numbers = True


class Ends(Listed):
    """Is over at once."""

    def read(self, timeout_s: float) -> Any:
        raise StreamEnded("no more")


class NoSource:
    """Something else."""


def rows(n: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((n, 2)), np.arange(first, first + n) / 100.0
