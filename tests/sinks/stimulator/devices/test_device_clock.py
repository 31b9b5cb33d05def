from __future__ import annotations

import random

import pytest

from neuroloop.sinks.stimulator.devices.device_clock import DeviceClock

MS = 1_000_000


def exchange(clock: DeviceClock, at_ns: int, ahead_ns: int, *, out_ms: float, back_ms: float) -> None:
    acted = at_ns + round(out_ms * MS)
    clock.note(at_ns, acted + ahead_ns, acted + round(back_ms * MS))


@pytest.mark.parametrize("ahead_ns", [0, 10**15, -(10**12)])
@pytest.mark.parametrize(("out_ms", "back_ms"), [(0, 0), (200, 0), (0, 200), (50, 50)])
def test_a_moment_is_never_later_on_the_devices_clock_than_it_is(ahead_ns: int, out_ms: int, back_ms: int) -> None:
    clock, draw = DeviceClock(), random.Random(7)
    for n in range(60):
        exchange(clock, n * 1000 * MS, ahead_ns, out_ms=out_ms + draw.random(), back_ms=back_ms + draw.random())
        moment = n * 1000 * MS + 500 * MS
        early = moment + ahead_ns - clock.not_after_ns(moment)
        assert 0 <= early <= (back_ms + 1) * MS
        assert clock.is_steady


def test_a_clock_that_runs_slower_by_a_hundred_millionths_is_followed_to_two_milliseconds() -> None:
    clock, slower = DeviceClock(), 1e-4
    for n in range(600):
        at = n * 1000 * MS
        exchange(clock, at, -round(at * slower), out_ms=0.5, back_ms=0.5)
        moment = at + 500 * MS
        late_ns = clock.not_after_ns(moment) - (moment - round(moment * slower))
        assert late_ns <= 2 * MS
        assert clock.is_steady


def test_a_clock_that_stands_or_jumps_is_not_steady() -> None:
    standing, jumping = DeviceClock(), DeviceClock()
    for n in range(3):
        standing.note(n * 1000 * MS, 5, n * 1000 * MS + MS)
        exchange(jumping, n * 1000 * MS, 50 * MS if n == 2 else 0, out_ms=1, back_ms=1)
    assert not standing.is_steady
    assert not jumping.is_steady


def test_what_we_ourselves_were_late_to_read_is_no_way_of_the_device() -> None:
    clock = DeviceClock()
    exchange(clock, 0, 77, out_ms=10, back_ms=1)
    exchange(clock, 1000 * MS, 77, out_ms=10, back_ms=300)
    assert clock.trip_ns(1000 * MS, 1010 * MS + 77) == 11 * MS
