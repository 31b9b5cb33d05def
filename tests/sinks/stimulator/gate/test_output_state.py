"""One holder of what the output is, and what must hold of it after every input."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from neuroloop.sinks.stimulator.gate.leases import Issued
from neuroloop.sinks.stimulator.gate.machine import MachineState
from neuroloop.sinks.stimulator.gate.output_state import OutputState
from neuroloop.sinks.stimulator.records import Lease, Train
from tests.sinks.stimulator.rig import CAPABILITIES, Rig, row, settings, setup_of

ISSUED = Issued(Lease(1, Train(50.0, 2.0, 200.0, "biphasic"), 2.0, 0.5, 1.0), 10**9, 1_500_000_000, 0.0, False)


def started(**values: object) -> Rig:
    """Return a rig that stimulates."""
    gate = {"hold_off_s": 0.5, "blanking_s": 0.0}
    rig = Rig(setup_of(settings((row(),), gate=gate), **values))  # type: ignore[arg-type]  # handed on as they are
    rig.arm()
    rig.stay("alpha", 4)
    assert rig.at() == "STIMULATING"
    return rig


def test_output_counts_as_on_from_the_command_and_as_off_from_the_devices_word() -> None:
    rig = started()
    output = rig.gate.output
    assert output.may_be_on
    assert output.off_ns is None
    assert output.until_ns >= rig.intervals[-1].off_ns
    rig.operator("stop")
    seen = [(output.commanded, output.may_be_on)]
    rig.move(0.05)
    seen.append((output.commanded, output.may_be_on))
    assert seen == [(None, True), (None, False)]
    assert (rig.gate.output.off_ns or 0) >= rig.intervals[-1].off_ns


def test_output_of_a_device_that_says_nothing_counts_as_off_from_the_command() -> None:
    rig = started(capabilities=replace(CAPABILITIES, acknowledges=False))
    rig.operator("stop")
    assert rig.gate.output.off_ns == rig.now_ns


@pytest.mark.parametrize(
    ("machine", "now_ns", "is_armed", "message"),
    [
        ("ARMED", 10**9, True, "output must be commanded on in a dose only, got lease 1 in ARMED"),
        ("STIMULATING", 10**9, True, "a dose must be given exactly in .*, got STIMULATING and False"),
    ],
)
def test_output_without_a_dose_is_named(machine: MachineState, now_ns: int, is_armed: bool, message: str) -> None:
    output = OutputState(patience_ns=0, acknowledges=True)
    output.lease(ISSUED)
    found = output.broken(machine, now_ns, dose=None, planned=ISSUED, is_armed=is_armed)
    assert found is not None
    assert re.search(message, found)


def test_a_lease_or_a_dose_that_is_over_is_named() -> None:
    rig = started()
    dose, end_ns = rig.gate.dose, ISSUED.end_ns
    assert dose is not None
    output = OutputState(patience_ns=0, acknowledges=True)
    output.lease(ISSUED)

    def found(now_ns: int, dose_end_ns: int) -> str | None:
        one = replace(dose, end_ns=dose_end_ns)
        return output.broken("STIMULATING", now_ns, dose=one, planned=ISSUED, is_armed=True)

    assert found(end_ns - 1, end_ns) is None
    assert found(end_ns, end_ns + 1) == f"lease 1 must be renewed or off by {end_ns}, got {end_ns}"
    assert found(end_ns - 1, end_ns - 1) == f"dose must be over by {end_ns - 1}, got {end_ns - 1}"


def test_an_arming_that_holds_where_it_may_not_is_named() -> None:
    output = OutputState(patience_ns=0, acknowledges=True)
    found = output.broken("DISARMED", 0, dose=None, planned=None, is_armed=True)
    assert found == "arming must hold exactly where it may, got True in DISARMED"


def test_parts_that_do_not_agree_about_the_output_are_a_fault_and_the_output_goes_off() -> None:
    rig = started()
    rig.gate.output.commanded = None
    rig.pulse()
    rig.move(0.01)
    assert rig.at() == "FAULT"
    assert not rig.model.is_on
    assert "must be the plan" in str([one.values for one in rig.all("note")])
