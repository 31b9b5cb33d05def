"""Two hundred random closed loops with faults, judged from the device's own record; ten thousand by hand.

``python -m tests.sinks.stimulator.random_loops --loops 10000``
"""

from __future__ import annotations

import pytest

from tests.sinks.stimulator.random_loops import Totals, run_loops

COMMON = (
    "artifact",
    "clock_step",
    "config_changed",
    "counter_reset",
    "decisions_lost",
    "device_slow",
    "drift",
    "flagged",
    "gap",
    "heartbeat",
    "hot_dead",
    "lease_lapsed",
    "limits_changed",
    "missing",
    "nonfinite",
    "progress",
    "skip",
    "stale",
    "stream_found",
    "stream_lost",
    "wall_clock",
)
RARE = (
    "device_deficit",
    "device_excess",
    "device_lost",
    "device_nack",
    "device_silent",
    "device_still_on",
    "log",
)
PARTS = 4
"""So that several workers share them."""


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_in_a_closed_loop_the_device_stays_within_what_is_allowed(part: int) -> None:
    totals = run_loops(50 * part, 50)
    print(totals.table())
    assert totals.breaches == []
    _is_not_empty(totals)


def _is_not_empty(totals: Totals) -> None:
    """Loops that give no doses, or in which nothing ever fails, would prove nothing."""
    assert totals.n_with_doses >= 0.6 * totals.n_loops
    assert totals.counts["doses"] >= 1.2 * totals.n_loops
    assert totals.counts["leases"] >= 10 * totals.n_loops
    assert totals.counts["restarts"] >= 0.5 * totals.n_loops
    assert len([name for name in COMMON if not totals.trips[name]]) <= 2
    assert sum(totals.trips[name] > 0 for name in RARE) >= 4
