"""What the tests of the log and the ledger share: clocks moved by hand, a scribe that is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from neuroloop.sinks.stimulator.log.disk_writer import Scribe
from neuroloop.sinks.stimulator.log.ledger import LedgerClock

PATIENCE_S = 20.0


class Done:
    """Learns from a scribe that something is done, and waits for a ticket."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.scribe = Scribe(self._event.set)

    def sync(self) -> None:
        """Wait until all that was handed over is on the disk."""
        ticket = self.scribe.sync()
        while self.scribe.done < ticket:
            assert self._event.wait(PATIENCE_S), self.scribe.failures
            self._event.clear()

    def fails(self) -> str:
        """Wait for the first failure and return its reason."""
        while not self.scribe.failures:
            assert self._event.wait(PATIENCE_S)
            self._event.clear()
        return next(iter(self.scribe.failures.values()))


@contextmanager
def scribe() -> Iterator[Done]:
    """Hand out a scribe and end it."""
    done = Done()
    try:
        yield done
    finally:
        assert done.scribe.close(PATIENCE_S)


class HandClock:
    """Wall and boot clocks moved by hand, in hours since some day."""

    def __init__(self) -> None:
        self.wall_h = 480_000.0
        self.boot_h = 10.0
        self.boot = "first"

    def pass_h(self, hours: float) -> None:
        """Let time go by for both."""
        self.wall_h += hours
        self.boot_h += hours

    def clock(self) -> LedgerClock:
        """Return it as the ledger takes it."""
        return LedgerClock(lambda: round(self.wall_h * 3600e9), lambda: round(self.boot_h * 3600e9), lambda: self.boot)
