"""Off in time whatever the way to the device is like: in virtual time, by the device's own record."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.sinks.stimulator.gate.gate import Gate
from tests.sinks.stimulator.checker import on_after
from tests.sinks.stimulator.rig import Link, Rig, row, settings, setup_of

WATCHDOG_S, HEARTBEAT_S = 0.5, 0.1
GATE = {"hold_off_s": 0.5, "confirm_n": 1, "blanking_s": 0.0, "ramp_s": 0.5, "refractory_s": 0.5}


def rig_of(latency_ms: float = 1.0, disk_ms: float = 0.0, duration_s: float = 60.0, **gate: Any) -> Rig:
    """Return an armed rig; its round trip is twice the latency."""
    one = settings((row("alpha", duration_s=duration_s),), gate={**GATE, **gate})
    rig = Rig(setup_of(one), heartbeat_s=one.gate.heartbeat_s)
    rig.link = Link(latency_ns=round(latency_ms * 1e6), disk_ns=round(disk_ms * 1e6))
    rig.arm()
    return rig


def stimulating(latency_ms: float = 1.0, **gate: Any) -> Rig:
    rig = rig_of(latency_ms, **gate)
    rig.stay("alpha", 3)
    assert rig.at() == "STIMULATING", rig.refused()
    return rig


def leases_s(rig: Rig) -> list[float]:
    return [one.lease.duration_s for one in rig.all("command") if one.lease is not None]


@pytest.mark.parametrize("latency_ms", [0.0, 1.0, 10.0, 25.0, 41.0])
@pytest.mark.parametrize("disk_ms", [0.0, 100.0])
def test_a_dose_runs_to_its_end_over_a_link_that_fits(latency_ms: float, disk_ms: float) -> None:
    rig = rig_of(latency_ms, disk_ms, 10.0)
    rig.stay("alpha", 12)
    assert rig.steps()[:6] == ["DISARMED", "ARMED", "RAMP_UP", "STIMULATING", "RAMP_DOWN", "LOCKOUT"]
    assert rig.at() == "LOCKOUT"
    assert all(one + 2 * 2 * latency_ms * 1e-3 <= WATCHDOG_S + 1e-9 for one in leases_s(rig)[1:])


@pytest.mark.parametrize("watchdog_s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("disk_ms", [0.0, 100.0, 300.0])
def test_a_dose_runs_to_its_end_with_the_slowest_heartbeat_and_a_slow_disk(watchdog_s: float, disk_ms: float) -> None:
    beat = {"heartbeat_s": min(0.5, watchdog_s / 2), "watchdog_s": watchdog_s, "max_age_s": min(1.0, watchdog_s)}
    rig = rig_of(1.0, disk_ms, 20.0, **beat)
    rig.stay("alpha", 24)
    assert "LOCKOUT" in rig.steps(), rig.steps()
    assert not {"SAFE_STOP", "FAULT"} & set(rig.steps())


@pytest.mark.parametrize("latency_ms", [0.0, 1.0, 10.0, 25.0, 41.0])
def test_the_output_is_off_within_the_watchdog_time_of_everything_standing_still(latency_ms: float) -> None:
    for phase in range(12):
        rig = stimulating(latency_ms)
        rig.move(0.025 * phase)
        since = rig.now_ns
        rig.stand_still(3.0)
        assert not rig.model.is_on
        assert on_after(rig.intervals, since, rig.now_ns) <= WATCHDOG_S


@pytest.mark.parametrize("sudden_ms", [60.0, 100.0, 200.0, 400.0, 3000.0])
def test_the_output_is_off_in_time_though_the_link_grows_slow_in_mid_dose(sudden_ms: float) -> None:
    for phase in range(20):
        rig = stimulating()
        rig.link = Link(latency_ns=round(sudden_ms * 1e6))
        rig.move(0.025 * phase)
        since = rig.now_ns
        rig.stand_still(8.0)
        assert not rig.model.is_on
        assert on_after(rig.intervals, since, rig.now_ns) <= WATCHDOG_S


@pytest.mark.parametrize("latency_ms", [0.0, 10.0, 25.0, 41.0])
@pytest.mark.parametrize("what", ["loop", "stream"])
def test_the_gate_allows_for_the_way_to_the_device_when_the_pipeline_falls_silent(latency_ms: float, what: str) -> None:
    for phase in range(10):
        rig = stimulating(latency_ms, max_age_s=0.5)
        rig.move(0.01 * phase)
        since = rig.now_ns
        for _ in range(15):
            rig.is_moving = what != "loop"
            if what == "stream":
                rig.age_s = (rig.now_ns - since) * 1e-9 + HEARTBEAT_S  # at the heartbeat, which ends the next move
            rig.move(HEARTBEAT_S)
        assert not rig.model.is_on
        assert "lease_lapsed" not in {one.values.get("interlock") for one in rig.all("note")}
        assert on_after(rig.intervals, since, rig.now_ns) <= WATCHDOG_S + HEARTBEAT_S


@pytest.mark.parametrize("latency_ms", [42.0, 50.0, 100.0, 200.0])
def test_a_device_that_is_too_slow_is_not_armed_and_the_refusal_says_what_to_change(latency_ms: float) -> None:
    rig = rig_of(latency_ms)
    assert rig.at() == "DISARMED"
    (refusal,) = rig.all("refusal")
    text = refusal.values["reason"]
    assert "device_slow" in text
    assert f"round trip of {2 * latency_ms / 1000:.3f} s: make gate.watchdog_s longer" in text


def test_the_same_device_is_armed_with_a_longer_watchdog_time() -> None:
    rig = rig_of(100.0, watchdog_s=1.0)
    rig.stay("alpha", 6)
    assert rig.at() == "STIMULATING"
    assert leases_s(rig)[-1] == pytest.approx(0.6)


def test_a_device_that_grows_slow_is_ramped_down_and_disarmed() -> None:
    rig = stimulating()
    rig.link.latency_ns = 60_000_000
    rig.stay("alpha", 2)
    assert rig.at() == "DISARMED"
    assert rig.all("note")[-1].values["what"] == "dose"
    assert "device_slow" in [one.values.get("interlock") for one in rig.all("note")]
    assert not rig.model.is_on


def test_one_late_answer_makes_leases_shorter_and_disarms_nothing() -> None:
    rig = stimulating()
    rig.put(
        "device",
        {
            "kind": "status",
            "lease": 0,
            "is_on": True,
            "delivered_uc": None,
            "command": "status",
            "trip_ns": 100_000_000,
        },
    )
    rig.stay("alpha", 1)
    assert rig.at() == "STIMULATING"
    assert leases_s(rig)[-1] == pytest.approx(0.3)
    rig.stay("alpha", 10)
    assert leases_s(rig)[-1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("disk_ms", [0.0, 200.0, 300.0])
@pytest.mark.parametrize("ramp_s", [0.5, 2.0])
@pytest.mark.parametrize("is_left", [True, False])
def test_a_ramp_down_that_waits_for_the_disk_is_not_cut_off(disk_ms: float, ramp_s: float, *, is_left: bool) -> None:
    rig = rig_of(1.0, disk_ms, 12.0, ramp_s=ramp_s)
    rig.stay("alpha", 5)
    rig.stay("rest" if is_left else "alpha", 9)
    assert "LOCKOUT" in rig.steps()
    assert rig.intervals[-1].to_ma == pytest.approx(0.0, abs=1e-9)
    assert all(before.to_ma == pytest.approx(after.from_ma) for before, after in pairwise(rig.intervals))


def test_a_device_whose_leases_are_too_short_to_be_renewed_in_time_makes_no_gate() -> None:
    made = setup_of(settings((row("alpha"),), gate=GATE))
    made["capabilities"]["timeout_s"] = 0.2
    with pytest.raises(ConfigError, match=r"timeout_s must be at least 0\.25, the shortest lease .*, got 0\.2"):
        Gate(made)
