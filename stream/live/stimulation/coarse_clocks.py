"""Clocks of a blinded run's records: on a grid far coarser than what the arms can differ in."""

from __future__ import annotations

import time

from neuroloop.sinks.stimulator.log.audit import Clocks
from neuroloop.sinks.stimulator.log.ledger_entries import LedgerClock
from neuroloop.sinks.stimulator.sham import GRID_NS


def floored(t_ns: int) -> int:
    """Return the grid's moment at or before this one."""
    return t_ns - t_ns % GRID_NS


def coarse_clocks() -> Clocks:
    """Return the clocks of the audit log's records."""
    return Clocks(lambda: floored(time.time_ns()), lambda: floored(time.monotonic_ns()) * 1e-9)


def coarse_ledger_clock() -> LedgerClock:
    """Return the clocks of the ledger's entries."""
    return LedgerClock(lambda: floored(time.time_ns()), lambda: floored(time.clock_gettime_ns(time.CLOCK_BOOTTIME)))


def ceiled(t_ns: int) -> int:
    """Return the grid's moment at or behind this one: an answer must not seem to have come before it did."""
    return -floored(-t_ns)
