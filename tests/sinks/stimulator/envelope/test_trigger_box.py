"""A trigger box knows one train, on or off: what needs more is refused, and what passes never needs more."""

from __future__ import annotations

from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.devices.lease_guard import one_way_capabilities
from neuroloop.sinks.stimulator.envelope.assessing import assess_table
from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.records import GateOutput
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of

BOX = one_way_capabilities("box", limits_itself=True)


def box_settings(**values: Any) -> StimulationSettings:
    """Return settings that a box can do: 0.19 mA at 200 mA/s are a ramp of less than a millisecond."""
    rows = (row(amplitude_ma=values.pop("amplitude_ma", 0.19), duration_s=5.0),)
    place = {"subject": "S01", "electrode": "E1", "electrode_shape": {"kind": "disc", "diameter_mm": 2.76}}
    given: dict[str, Any] = {
        **place,
        "profile": "cortical",
        "mode": "real",
        "device": {"kind": "serial", "path": "/dev/ttyS9"},
    }
    return settings(rows, **given | {"gate": {"ramp_s": 0.0, "soft_stop_s": 0.0}} | values)


def leases_of(rig: Rig) -> list[GateOutput]:
    """Return the commands that a box would send its start code for."""
    return [one for one in rig.all("command") if one.lease is not None]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (
            {"amplitude_ma": 0.2},
            r"stimulation\.table\.0\.amplitude_ma must be below 0\.2 for .* max_slew_ma_s=200, got 0\.2",
        ),
        (
            {"limits": {"max_slew_ma_s": 10.0}},
            r"stimulation\.table\.0\.amplitude_ma must be below 0\.01 for .* max_slew_ma_s=10, got 0\.19",
        ),
        (
            {"limits": {"min_ramp_s": 0.1}},
            r"stimulation\.device\.kind must be one that ramps, min_ramp_s=0\.1 .*, got 'serial'",
        ),
    ],
)
def test_a_ramp_that_the_limits_ask_for_is_refused_when_checked_and_when_armed(
    values: dict[str, Any], fault: str
) -> None:
    one = box_settings(**values)
    for call in (lambda: assess_table(one), lambda: Gate(setup_of(one, capabilities=BOX))):
        with pytest.raises(ConfigError) as caught:
            call()
        assert len(caught.value.faults) == 1
        assert caught.match(fault)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("mode", "sham", r"mode must be 'real' for device\.kind 'serial'"),
        ("gate", {"ramp_s": 1.0, "soft_stop_s": 0.0}, r"gate\.ramp_s must be 0 for device\.kind 'serial'"),
        ("gate", {"ramp_s": 0.0, "soft_stop_s": 0.5}, r"gate\.soft_stop_s must be 0 for device\.kind 'serial'"),
    ],
)
def test_no_gate_is_made_from_a_setup_that_went_round_the_configuration(key: str, value: Any, fault: str) -> None:
    setup = setup_of(box_settings(), capabilities=BOX)
    Gate(setup)
    setup["settings"][key] = value
    with pytest.raises(ConfigError, match=fault):
        Gate(setup)


def test_no_gate_is_made_from_a_table_of_two_rows() -> None:
    setup = setup_of(box_settings(), capabilities=BOX)
    setup["table"] = [*setup["table"], {**setup["table"][0], "state": "other"}]
    with pytest.raises(ConfigError, match=r"table must be one row for device\.kind 'serial'.*, got 2 rows"):
        Gate(setup)


def stimulating() -> Rig:
    """Return a run in the middle of a dose."""
    rig = Rig(setup_of(box_settings()))
    rig.arm()
    rig.stay("alpha", 3.0)
    assert rig.at() == "STIMULATING"
    return rig


@pytest.mark.parametrize("reason", ["artifact", "drift", "disarm", "state left"])
def test_what_would_be_a_soft_stop_cuts_a_box_off_without_another_code(reason: str) -> None:
    rig = stimulating()
    before = len(leases_of(rig))
    if reason == "artifact":
        found = rig.event("artifact", kind="rail")
    elif reason == "drift":
        found = rig.event("drift", what="onset", monitor="m", hold=True)
    elif reason == "disarm":
        found = rig.operator("disarm")
    else:
        rig.event("prediction", label="other", confidence=0.97, valid=True)
        found = rig.outputs[-1]
    assert "stop" in [one.values["action"] for one in found if one.kind == "command"]
    rig.move(1.0)
    assert len(leases_of(rig)) == before
    assert not rig.model.is_on


def test_every_code_of_a_whole_dose_stands_for_the_whole_train() -> None:
    rig = stimulating()
    rig.stay("alpha", 6.0)
    assert "STIMULATING" not in rig.at()
    sent = leases_of(rig)
    assert len(sent) > 10
    assert {(one.lease.slew_ma_s, one.lease.train.amplitude_ma) for one in sent if one.lease} == {(200.0, 0.19)}
