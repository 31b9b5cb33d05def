"""What the tests of the log and the ledger share: clocks moved by hand, a writer that is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.log.ledger_entries import LedgerClock

PATIENCE_S = 20.0


class Done:
    """Learns from a writer that something is done, and waits for a ticket."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.writer = DiskWriter(self._event.set)

    def sync(self) -> None:
        """Wait until all that was handed over is on the disk."""
        ticket = self.writer.sync()
        while self.writer.done < ticket:
            assert self._event.wait(PATIENCE_S), self.writer.failures
            self._event.clear()

    def fails(self) -> str:
        """Wait for the first failure and return its reason."""
        while not self.writer.failures:
            assert self._event.wait(PATIENCE_S)
            self._event.clear()
        return next(iter(self.writer.failures.values()))


@contextmanager
def writer() -> Iterator[Done]:
    """Hand out a writer and end it."""
    done = Done()
    try:
        yield done
    finally:
        assert done.writer.close(PATIENCE_S)


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
