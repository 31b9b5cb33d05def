"""Sinks as a lab would write them, good and bad."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from neuroloop.config.sinks import OwnSinkSettings
from neuroloop.sinks.guarded import PATIENCE
from neuroloop.stream.contracts.events import Event

TOLD: list[Any] = []
"""What was told to the sinks below."""
GATE = threading.Event()


class Keeps:
    """Keeps what it is told."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def start(self, run: Any) -> None:
        TOLD.append(f"start {run.pipeline}")
        GATE.set()

    def write(self, events: Sequence[Event]) -> None:
        TOLD.extend(events)

    def close(self) -> None:
        TOLD.append("close")


class Refuses:
    """Takes nothing so many times."""

    class Settings(OwnSinkSettings):
        """Its own key."""

        times: int = 0

    def __init__(self, settings: Any) -> None:
        self._left = settings.times
        self._n_refused = 0

    def write(self, events: Sequence[Event]) -> None:
        if self._left:
            self._left -= 1
            self._n_refused += 1
            if self._n_refused == PATIENCE:
                GATE.set()
            raise OSError("no room")
        TOLD.extend(events)


class NeverMade:
    """Cannot be made."""

    def __init__(self, settings: Any) -> None:
        raise ConnectionRefusedError("nobody there")

    def write(self, events: Sequence[Event]) -> None: ...


class Exits:
    """Ends the program, or tries to."""

    def __init__(self, settings: Any) -> None: ...

    def write(self, events: Sequence[Event]) -> None:
        sys.exit(3)


class Waits:
    """Waits for the gate."""

    def __init__(self, settings: Any) -> None: ...

    def write(self, events: Sequence[Event]) -> None:
        GATE.wait()


class NoSink:
    """Something else."""
