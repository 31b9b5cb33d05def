"""The gate and a device that misbehaves; what the meter counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuroloop.sinks.stimulator.gate.charge_budget import ChargeMeter
from neuroloop.sinks.stimulator.records import Lease, Train
from tests.sinks.stimulator.checker import charge_uc
from tests.sinks.stimulator.gate.test_gate import ALPHA, QUICK, last_rules, started
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of


def test_a_refused_lease_is_a_fault() -> None:
    rig = started()
    rig.link.refuses = True
    rig.move(0.6)
    assert rig.at() == "FAULT"
    assert "device_nack" in rig.all("transition")[-1].values["reason"]
    assert not rig.model.is_on


@pytest.mark.parametrize("lost", ["drops_commands", "drops_answers"])
def test_a_device_that_does_not_answer_is_a_fault_and_goes_off_by_itself(lost: str) -> None:
    rig = started()
    setattr(rig.link, lost, True)
    rig.move(1.5)
    assert not rig.model.is_on
    assert rig.at() in ("FAULT", "DISARMED")
    rig.move(0.7)
    assert rig.at() == "FAULT"


def test_a_stuck_output_is_a_fault_and_the_stop_is_repeated() -> None:
    rig = started()
    rig.model.is_stuck = True
    rig.operator("stop")
    rig.move(1.0)
    assert rig.model.is_on
    assert rig.at() == "FAULT"
    before = sum(one.values["action"] == "stop" for one in rig.all("command"))
    rig.move(1.0)
    assert sum(one.values["action"] == "stop" for one in rig.all("command")) >= before + 9
    assert {"what": "not_off", "faults": ["device_still_on"]} in [one.values for one in rig.all("note")]
    assert rig.actions().count("stop") == 2
    rig.operator("reset", reason="the plug is out")
    assert "device_self_test" in last_rules(rig)
    rig.model.terminate()
    rig.move(2.0)
    rig.operator("reset", reason="the plug is out")
    assert rig.at() == "DISARMED"


def device(rig: Rig, **values: Any) -> None:
    """Let the device say something."""
    given = {"kind": "status", "lease": 0, "is_on": False, "delivered_uc": None, "reason": "", "command": "status"}
    rig.put("device", {**given, **values})


def test_an_output_that_is_on_without_a_lease_is_a_fault() -> None:
    rig = Rig(setup_of(settings((ALPHA,), gate=QUICK)))
    rig.arm()
    device(rig, is_on=True)
    assert rig.at() == "FAULT"
    assert rig.all("transition")[-1].values["reason"] == "device_unleased"


def test_a_device_that_gave_more_than_it_can_have_been_granted_is_a_fault() -> None:
    rig = started()
    bound = rig.gate.bound_up_to_uc(10_000)
    device(rig, is_on=True, delivered_uc=bound * 1.04)
    assert rig.at() == "STIMULATING"
    assert rig.gate.session_uc >= bound * 1.04 * (1 - 1e-12)
    device(rig, is_on=True, delivered_uc=bound * 1.06)
    assert rig.at() == "FAULT"
    assert rig.all("transition")[-1].values["reason"] == "device_excess"


def scaled(rig: Rig, factor: float, seconds: float) -> None:
    """Let the device say that much of what it delivers, for as long as the gate goes on."""
    answer = rig.answer
    rig.answer = lambda one: answer(replace(one, delivered_uc=factor * one.delivered_uc))  # type: ignore[method-assign]
    rig.arm()
    rig.stay("alpha", seconds)


def scaled_rig(**row_values: Any) -> Rig:
    return Rig(setup_of(settings((row("alpha", **row_values),), gate=QUICK)))


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.4])
def test_a_device_that_says_too_little_at_full_amplitude_is_a_fault(factor: float) -> None:
    rig = scaled_rig()
    scaled(rig, factor, 8)
    assert rig.at() == "FAULT"
    assert "device_deficit" in rig.all("transition")[-1].values["reason"]
    assert rig.gate.session_uc >= charge_uc(rig.intervals)
    assert sum(one.off_ns - one.on_ns for one in rig.intervals) * 1e-9 < 4.5


@pytest.mark.parametrize("factor", [1.5, 2.1])
def test_a_device_that_delivers_more_and_says_so_is_a_fault_within_seconds(factor: float) -> None:
    rig = scaled_rig()
    scaled(rig, factor, 8)
    assert rig.at() == "FAULT"
    assert "device_excess" in rig.all("transition")[-1].values["reason"]


@pytest.mark.parametrize("latency_ms", [0, 20, 40])
@pytest.mark.parametrize("frequency_hz", [1.0, 7.0, 50.0])
@pytest.mark.parametrize("factor", [0.7, 1.0])
def test_an_honest_device_is_never_in_doubt(latency_ms: int, frequency_hz: float, factor: float) -> None:
    rig = scaled_rig(frequency_hz=frequency_hz)
    rig.link.latency_ns = latency_ms * 1_000_000
    scaled(rig, factor, 12)
    assert rig.at() == "STIMULATING"
    assert rig.gate.session_uc >= charge_uc(rig.intervals)


def test_a_device_that_went_off_by_itself_ends_the_dose() -> None:
    rig = started()
    device(rig, is_on=False)
    assert rig.at() == "DISARMED"
    assert rig.all("transition")[-1].values["reason"] == "device_off"


def test_a_lost_device_is_a_fault() -> None:
    rig = started()
    device(rig, kind="lost", reason="cable")
    assert rig.at() == "FAULT"


def test_a_device_that_never_answers_is_charged_for_every_lease_in_full() -> None:
    made = setup_of(settings((ALPHA,), gate=QUICK))
    made["capabilities"] |= {"acknowledges": False}
    rig = Rig(made)
    rig.link.drops_answers = True
    rig.arm()
    rig.stay("alpha", 4)
    assert rig.at() == "STIMULATING"
    assert rig.gate.session_uc == pytest.approx(sum(charge for _, charge in rig.granted))


# leases and meter


def issue(meter: ChargeMeter, number: int, ma: float, now_ns: int) -> None:
    """Issue a lease of half a second at one amplitude."""
    charge = 0.2 * ma * (50.0 * 0.5 + 1)
    meter.issue(Lease(number, Train(50.0, ma, 200.0, "biphasic"), 10.0, 0.5, charge), now_ns, most_ma=ma)


def test_a_renewed_lease_counts_up_to_the_devices_answer() -> None:
    meter = ChargeMeter()
    issue(meter, 1, 2.0, 0)
    meter.answer(1, 10_000_000)
    issue(meter, 2, 2.0, 250_000_000)
    assert meter.total_uc == pytest.approx(2 * 10.4)
    meter.answer(2, 260_000_000)
    assert meter.total_uc == pytest.approx(0.4 * (50 * 0.26 + 1) + 10.4)
    meter.off(360_000_000)
    assert meter.total_uc == pytest.approx(0.4 * (50 * 0.26 + 1) + 0.4 * (50 * 0.1 + 1))


def test_between_two_leases_the_stronger_one_counts() -> None:
    meter = ChargeMeter()
    issue(meter, 1, 1.0, 0)
    issue(meter, 2, 3.0, 200_000_000)
    meter.answer(2, 300_000_000)
    meter.off(400_000_000)
    assert meter.total_uc == pytest.approx(0.2 * (50 * 0.2 + 1) + 0.6 * (50 * 0.2 + 1))


def test_a_day_later_nothing_counts_and_a_second_before_it_does() -> None:
    meter = ChargeMeter()
    issue(meter, 1, 2.0, 0)
    meter.off(500_000_000)
    day = 86_400 * 10**9
    assert meter.day_uc(day) == pytest.approx(10.4)
    assert meter.day_uc(day + 61 * 10**9) == 0.0
    assert meter.total_uc == pytest.approx(10.4)
