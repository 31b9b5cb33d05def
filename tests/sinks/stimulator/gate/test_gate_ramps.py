"""Ramps as the device delivers them, judged from its own record: no situation may make one steeper, or a step of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.sinks.stimulator.checker import steps
from tests.sinks.stimulator.rig import CAPABILITIES, Link, Rig, row, settings, setup_of

STEP_MA = 0.01
NMES = {"profile": "nmes", "route": "transcutaneous", "electrode_area_cm2": 25.0}
TENS = {"profile": "tens", "route": "transcutaneous", "electrode_area_cm2": 25.0}
CORTICAL = {"profile": "cortical", "electrode_area_cm2": 0.2}
SLOW_BEAT = {"heartbeat_s": 0.5, "watchdog_s": 1.0, "max_age_s": 1.0}
WIDE = replace(CAPABILITIES, max_amplitude_ma=100.0)


def rig_of(amplitude_ma: float, gate: dict[str, Any], place: dict[str, Any], step_ma: float = STEP_MA) -> Rig:
    shape = {"pulse_width_us": 60.0, "duration_s": 5.0} if place is CORTICAL else {"duration_s": 10.0}
    rows = (row("alpha", frequency_hz=40.0, amplitude_ma=amplitude_ma, **shape),)
    one = settings(rows, gate={"hold_off_s": 0.5, "blanking_s": 0.0, **gate}, **place)
    return Rig(setup_of(one, capabilities=replace(WIDE, step_ma=step_ma)), heartbeat_s=one.gate.heartbeat_s)


def give(rig: Rig, disk_s: float = 0.0) -> None:
    """Give a dose; the record of its start alone is late on the disk."""
    rig.arm()
    rig.link.disk_ns = round(disk_s * 1e9)
    rig.decide("alpha")
    rig.move(0.1)
    rig.decide("alpha")
    assert "start" in rig.actions(), rig.refused()
    rig.link.disk_ns = 0
    rig.stay("alpha", 5)


@pytest.mark.parametrize(
    ("amplitude_ma", "gate", "place", "link", "disk_s", "slew_ma_s"),
    [
        (100.0, {"ramp_s": 0.5}, NMES, {}, 0.0, 200.0),
        (100.0, {"ramp_s": 0.5}, NMES, {}, 0.2, 200.0),
        (100.0, {"ramp_s": 0.5}, NMES, {}, 0.4, 200.0),
        (100.0, {"ramp_s": 0.5}, NMES, {"latency_ns": 40_000_000}, 0.0, 200.0),
        (1.0, {"ramp_s": 0.0}, {}, {}, 0.0, 10.0),
        (12.0, {"ramp_s": 0.0}, CORTICAL, {}, 0.0, 200.0),
        (100.0, {"ramp_s": 0.5, **SLOW_BEAT}, NMES, {}, 0.0, 200.0),
        (30.0, {"ramp_s": 0.5, **SLOW_BEAT}, TENS, {}, 0.0, 60.0),
        (30.0, {"ramp_s": 0.5, **SLOW_BEAT}, TENS, {}, 0.9, 60.0),
    ],
)
def test_a_ramp_is_delivered_without_a_step_and_within_the_slew_limit(
    amplitude_ma: float,
    gate: dict[str, Any],
    place: dict[str, Any],
    link: dict[str, int],
    disk_s: float,
    slew_ma_s: float,
) -> None:
    rig = rig_of(amplitude_ma, gate, place)
    rig.link = Link(latency_ns=link.get("latency_ns", 2_000_000))
    give(rig, disk_s)
    assert max(one.to_ma for one in rig.intervals) == amplitude_ma
    assert steps(rig.intervals, STEP_MA) == []
    for one in rig.intervals:
        rising_s = (one.reached_ns - one.on_ns) * 1e-9
        assert one.to_ma - one.from_ma <= slew_ma_s * rising_s * (1 + 1e-9) + 1e-9


def test_the_full_amplitude_is_said_when_the_device_has_had_the_time_to_reach_it() -> None:
    rig = rig_of(100.0, {"ramp_s": 0.5}, NMES)
    give(rig, 0.4)
    reached = next(one.reached_ns for one in rig.intervals if one.to_ma == 100.0)
    dose = rig.gate.dose
    assert dose is not None
    assert dose.top_ns is not None
    assert dose.top_ns >= reached


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.55, 0.8])
@pytest.mark.parametrize("disk_s", [0.0, 0.3])
def test_a_ramp_that_is_turned_round_goes_down_from_where_it_is(seconds: float, disk_s: float) -> None:
    rig = rig_of(100.0, {"ramp_s": 1.0}, NMES)
    rig.arm()
    rig.link.disk_ns = round(disk_s * 1e9)
    rig.decide("alpha")
    rig.decide("alpha")
    rig.move(seconds)
    rig.decide("rest")
    rig.move(3.0)
    assert steps(rig.intervals, STEP_MA) == []
    assert not rig.model.is_on
    assert rig.at() != "FAULT"
    assert rig.gate.session_uc >= sum(one.charge_uc for one in rig.intervals)


def test_a_coarse_device_is_told_the_same_rate_and_the_whole_way() -> None:
    dbs = {"profile": "dbs"}
    rows = (row(amplitude_ma=1.0, pulse_width_us=60.0, duration_s=60.0),)
    one = settings(rows, gate={"hold_off_s": 0.5}, **dbs)
    rig = Rig(setup_of(one, capabilities=replace(CAPABILITIES, step_ma=0.1)))
    rig.arm()
    rig.stay("alpha", 14)
    leases = [each.lease for each in rig.all("command") if each.lease is not None]
    assert {(each.train.amplitude_ma, each.slew_ma_s) for each in leases} == {(1.0, 0.1)}
    reached = next(each.reached_ns for each in rig.intervals if each.to_ma == 1.0)
    assert reached - rig.intervals[0].on_ns == pytest.approx(10e9, abs=2)


def test_a_dose_too_short_for_ramps_that_a_slow_disk_delays_is_refused() -> None:
    rig = rig_of(100.0, {"ramp_s": 4.4}, NMES)
    rig.arm()
    rig.stay("alpha", 2)
    assert rig.refused() == [["ramps_s"]]
