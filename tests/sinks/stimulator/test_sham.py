"""The filter of the arms: what the device does in a sham, by its own record; what the gate is told, in both arms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuroloop.sinks.stimulator.devices.simulator.model import Interval
from neuroloop.sinks.stimulator.records import DeviceAnswer
from neuroloop.sinks.stimulator.sham import Arm
from tests.sinks.stimulator.arm_rig import ArmRig
from tests.sinks.stimulator.checker import charge_uc
from tests.sinks.stimulator.gate.test_gate import QUICK, interlocked
from tests.sinks.stimulator.rig import CAPABILITIES, row, settings, setup_of

RATE_MA_S = 4.0
"""Of the rows below: 2 mA in half a second."""


def rig_of(arm: Arm, *, mode: str = "blinded", is_blinded: bool = True, latency_ms: float = 2, **gate: Any) -> ArmRig:
    """Return a rig of a study with one row of six seconds."""
    one = settings((row("alpha", duration_s=6.0),), mode=mode, gate={**QUICK, **gate})
    rig = ArmRig(setup_of(one), arm, is_blinded=is_blinded)
    rig.link.latency_ns = round(latency_ms * 1e6)
    return rig


def dosed(arm: Arm, seconds: float = 9, **values: Any) -> ArmRig:
    """Return a rig after so long in the state that is answered with a dose."""
    rig = rig_of(arm, **values)
    rig.arm()
    rig.stay("alpha", seconds)
    return rig


def on_ma(intervals: list[Interval]) -> float:
    return max(max(one.from_ma, one.to_ma) for one in intervals)


def told(rig: ArmRig) -> list[str]:
    """Return all that the gate was told and decided."""
    return [str((one.number, one.t_ns, one.kind, one.values)) for one in rig.inputs] + rig.lines()


@pytest.mark.parametrize("latency_ms", [0, 2, 40])
@pytest.mark.parametrize("ramp_s", [0.5, 1.0, 2.2])
def test_a_sham_dose_ramps_up_and_down_at_the_rate_of_the_row_and_is_off_then(latency_ms: float, ramp_s: float) -> None:
    rig = dosed("sham", latency_ms=latency_ms, ramp_s=ramp_s, soft_stop_s=0.2)
    start = rig.intervals[0].on_ns
    assert on_ma(rig.intervals) == 2.0
    lasted_s = (rig.intervals[-1].off_ns - start) * 1e-9
    assert 2 * ramp_s <= lasted_s < 2 * ramp_s + 1.0 + 8e-3 * latency_ms
    assert not rig.model.is_on
    level = 0.0
    for one in rig.intervals:
        assert one.from_ma == pytest.approx(level, abs=1e-9)
        level = one.to_ma
        slope = abs(one.to_ma - one.from_ma) / max(1e-9, (one.reached_ns - one.on_ns) * 1e-9)
        assert slope <= 2.0 / ramp_s + 1e-6
    assert level == pytest.approx(0.0, abs=1e-9)
    peak = next(index for index, one in enumerate(rig.intervals) if one.to_ma == 2.0)
    later = [one.to_ma for one in rig.intervals[peak:]]
    assert later == sorted(later, reverse=True)
    assert rig.steps()[:6] == ["DISARMED", "ARMED", "RAMP_UP", "STIMULATING", "RAMP_DOWN", "LOCKOUT"]


def test_a_real_dose_is_not_touched() -> None:
    blinded = dosed("real")
    assert on_ma(blinded.intervals) == 2.0
    assert sum(one.off_ns - one.on_ns for one in blinded.intervals) > 5.0e9
    assert [one.lease for one in blinded.intervals] == [one.lease for one in blinded.all("command") if one.lease]


@pytest.mark.parametrize("latency_ms", [0, 7, 60])
@pytest.mark.parametrize("seconds", [0.7, 1.5, 2.0, 4, 9])
def test_the_gate_is_told_the_same_in_both_arms_and_decides_the_same(seconds: float, latency_ms: float) -> None:
    seen = []
    for arm in ("real", "sham"):
        rig = dosed(arm, seconds, latency_ms=latency_ms)
        rig.stay("rest", 2)
        rig.operator("stop")
        rig.move(1.0)
        rig.arm()
        rig.stay("alpha", 3)
        rig.operator("stop")
        rig.move(1.0)
        seen.append(told(rig))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("fault", ["gap", "clock_step", "stale", "log", "flagged", "dead", "wall"])
def test_both_arms_end_alike_when_something_goes_wrong(fault: str) -> None:
    seen = []
    for arm in ("real", "sham"):
        rig = dosed(arm, 4)
        interlocked(rig, fault)
        for _ in range(10):
            rig.decide("rest")
            rig.move(0.1)
        assert not rig.model.is_on
        seen.append(told(rig))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("wave", [{"waveform": "sine", "pulse_width_us": 0.0}, {"frequency_hz": 3.0}])
def test_charge_figures_of_every_wave_are_of_one_make(wave: dict[str, Any]) -> None:
    seen = []
    for arm in ("real", "sham"):
        one = settings((row("alpha", duration_s=6.0, **wave),), mode="blinded", gate=QUICK)
        rig = ArmRig(setup_of(one), arm, is_blinded=True)
        rig.arm()
        rig.stay("alpha", 9)
        seen.append(told(rig))
    assert seen[0] == seen[1]


def test_the_charge_of_a_sham_dose_counts_as_that_of_a_real_one() -> None:
    real, sham = dosed("real"), dosed("sham")
    assert charge_uc(sham.intervals) < 0.4 * charge_uc(real.intervals)
    assert sham.gate.session_uc == real.gate.session_uc >= charge_uc(real.intervals)


def test_the_device_gets_one_command_for_each_of_the_gates() -> None:
    real, sham = dosed("real"), dosed("sham")
    assert len(real.wire.sent) == len(sham.wire.sent)
    assert real.wire.sent.count("status") < sham.wire.sent.count("status")


@pytest.mark.parametrize("how", ["operator", "disarm"])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 1.8, 3.0, 5.8])
def test_a_stop_in_any_part_of_a_sham_dose_is_a_stop(seconds: float, how: str) -> None:
    rig = rig_of("sham")
    rig.arm()
    rig.decide("alpha")
    rig.decide("alpha")
    rig.move(seconds)
    if how == "operator":
        rig.operator("stop")
        rig.move(0.01)
    else:
        rig.operator("disarm")
        rig.move(0.6)
    assert not rig.model.is_on
    assert rig.at() == "DISARMED"
    before = len(rig.intervals)
    rig.move(2.0)
    assert len(rig.intervals) == before


def test_a_sham_dose_whose_program_is_gone_is_over_within_a_lease() -> None:
    rig = rig_of("sham")
    rig.arm()
    rig.decide("alpha")
    rig.decide("alpha")
    rig.move(0.9)
    assert rig.model.is_on
    rig.move(0.51, pulses=False)
    assert not rig.model.is_on


def test_an_output_that_stays_on_in_a_sham_is_a_fault() -> None:
    rig = rig_of("sham")
    rig.arm()
    rig.decide("alpha")
    rig.decide("alpha")
    rig.model.is_stuck = True
    rig.move(4.0)
    assert rig.at() == "FAULT"
    assert "device_still_on" in rig.all("transition")[-1].values["reason"]


def mistold(rig: ArmRig, factor: float, seconds: float = 8) -> ArmRig:
    """Let the device name another charge than it delivers."""
    answer = rig.answer

    def wrong(one: DeviceAnswer) -> Any:
        return answer(replace(one, delivered_uc=factor * one.delivered_uc))

    rig.answer = wrong  # type: ignore[method-assign]
    rig.arm()
    rig.stay("alpha", seconds)
    return rig


@pytest.mark.parametrize(("factor", "rule"), [(0.0, "device_deficit"), (0.3, "device_deficit"), (2.1, "device_excess")])
def test_what_is_no_error_of_a_meter_reaches_the_gate_of_a_blinded_run(factor: float, rule: str) -> None:
    rig = mistold(rig_of("real"), factor)
    assert rig.at() == "FAULT"
    assert rule in rig.all("transition")[-1].values["reason"]


@pytest.mark.parametrize("factor", [0.8, 0.97, 1.03])
def test_a_meter_that_errs_a_little_does_not_show_the_arm(factor: float) -> None:
    seen = [told(mistold(rig_of(arm), factor)) for arm in ("real", "sham")]
    assert seen[0] == seen[1]


def test_a_device_without_a_meter_has_none_in_either_arm() -> None:
    seen = [told(mistold(rig_of(arm), float("nan"))) for arm in ("real", "sham")]
    assert seen[0] == seen[1]


def test_a_refused_lease_shows_through() -> None:
    rig = dosed("sham", 1.0)
    rig.link.refuses = True
    rig.move(0.6)
    assert rig.at() == "FAULT"
    assert not rig.model.is_on


def test_a_lost_device_shows_through() -> None:
    rig = dosed("sham", 4)
    rig.answer(DeviceAnswer("lost", 0, False, float("nan"), "cable"))
    assert rig.at() == "FAULT"


def test_a_device_that_never_answers_is_given_a_sham_by_the_clock() -> None:
    made = setup_of(settings((row("alpha", duration_s=6.0),), mode="blinded", gate=QUICK))
    made["capabilities"] |= {"acknowledges": False}
    rig = ArmRig(made, "sham", is_blinded=True)
    rig.link.drops_answers = True
    rig.arm()
    rig.stay("alpha", 6)
    assert on_ma(rig.intervals) == 2.0
    assert (rig.intervals[-1].off_ns - rig.intervals[0].on_ns) * 1e-9 < 2.5
    assert rig.intervals[-1].to_ma == 0.0
    assert CAPABILITIES.acknowledges
