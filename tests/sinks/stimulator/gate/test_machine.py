"""Every state with every kind of input: only steps of the table, and the output off where it must be."""

from __future__ import annotations

from typing import Any

import pytest

from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.gate.machine import STATES, TRANSITIONS, IllegalTransition, Machine, MachineState
from neuroloop.sinks.stimulator.records import GateInput
from tests.sinks.stimulator.gate.test_gate import QUICK
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of

PULSE: dict[str, Any] = {
    "progress": 10**6,
    "age_s": 0.01,
    "is_up": True,
    "hot_alive": True,
    "received": 10**6,
    "missing": 0,
    "nonfinite": 0,
    "clock_steps": 0,
    "wall_s": 0.0,
    "day_charge_uc": 0.0,
}
ANSWER: dict[str, Any] = {"lease": 0, "is_on": False, "delivered_uc": 0.0, "reason": "", "command": "status"}
PLACE: dict[str, Any] = {"sample": 10**9, "k": 0, "time": None, "delay_s": 0.5}
ASKED: dict[str, Any] = {"channel": "terminal", "authorised": True, "reason": "because", "override": []}
INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "prediction": ("event", {"type": "prediction", "label": "alpha", "confidence": 0.99, "valid": True, **PLACE}),
    "flagged": ("event", {"type": "prediction", "label": "alpha", "confidence": 0.99, "valid": False, **PLACE}),
    "other": ("event", {"type": "prediction", "label": "rest", "confidence": 0.99, "valid": True, **PLACE}),
    "state": ("event", {"type": "state", "state": "rest", "confidence": 0.9, **PLACE}),
    "gap": ("event", {"type": "gap", "missing": 3, **PLACE}),
    "skip": ("event", {"type": "skip", "n": 3, **PLACE}),
    "artifact": ("event", {"type": "artifact", "kind": "rail", **PLACE}),
    "drift": ("event", {"type": "drift", "what": "onset", "monitor": "m", "hold": True, **PLACE}),
    "lost": ("event", {"type": "stream", "what": "lost", **PLACE}),
    "found": ("event", {"type": "stream", "what": "found", **PLACE}),
    "clock_step": ("event", {"type": "stream", "what": "clock_step", "step_s": 1.0, **PLACE}),
    "marker": ("event", {"type": "marker", "label": "x", **PLACE}),
    "pulse": ("pulse", PULSE),
    "stale pulse": ("pulse", {**PULSE, "age_s": 1.0}),
    "dead pulse": ("pulse", {**PULSE, "hot_alive": False}),
    "other limits": ("pulse", {**PULSE, "limits_sha256": "0" * 64}),
    "empty pulse": ("pulse", {}),
    "arm": ("operator", {"action": "arm", **ASKED}),
    "arm unasked": ("operator", {"action": "arm", **ASKED, "authorised": False}),
    "confirm": ("operator", {"action": "confirm", **ASKED}),
    "disarm": ("operator", {"action": "disarm", **ASKED}),
    "stop": ("operator", {"action": "stop", **ASKED}),
    "reset": ("operator", {"action": "reset", **ASKED}),
    "unblind": ("operator", {"action": "unblind", **ASKED}),
    "nonsense": ("operator", {"action": "dance", **ASKED}),
    "status off": ("device", {"kind": "status", **ANSWER}),
    "status on": ("device", {"kind": "status", **ANSWER, "is_on": True}),
    "nack": ("device", {"kind": "nack", **ANSWER, "command": "renew"}),
    "device lost": ("device", {"kind": "lost", **ANSWER}),
    "excess": ("device", {"kind": "status", **ANSWER, "delivered_uc": 1e9}),
    "log": ("log", {"what": "durable", "number": 1}),
    "log failed": ("log", {"what": "failed", "number": 1}),
    "end": ("end", {"reason": "over"}),
    "setup": ("setup", {}),
    "unknown kind": ("weather", {"fine": True}),
}
STOPPING = {"stop", "end", "device lost", "nack", "log failed", "dead pulse", "other limits", "empty pulse", "nonsense"}


def in_state(state: MachineState) -> Rig:
    """Return a rig whose gate has come to a state."""
    rig = Rig(setup_of(settings((row("alpha", duration_s=60.0),), gate={**QUICK, "ramp_s": 2.0, "refractory_s": 9.0})))
    if state == "INIT":
        rig.gate = Gate(rig.setup)
        rig.inputs.clear()
        rig.outputs.clear()
        return rig
    rig.move(2.6)
    if state == "DISARMED":
        return rig
    rig.operator("arm")
    rig.move(0.3)
    if state == "ARMED":
        return rig
    if state == "FAULT":
        rig.put("device", {"kind": "lost"})
        rig.move(1.1)
        return rig
    rig.stay("alpha", 1.5)
    if state == "RAMP_UP":
        return rig
    rig.stay("alpha", 4)
    if state in ("RAMP_DOWN", "LOCKOUT"):
        rig.decide("rest")
        rig.move(0.3 if state == "RAMP_DOWN" else 3.5)
    elif state == "SAFE_STOP":
        rig.event("gap", missing=2)
        rig.move(0.1)
    return rig


def feed(rig: Rig, name: str) -> list[Any]:
    """Hand one of the inputs to a gate."""
    kind, values = INPUTS[name]
    known = {**rig.hashes} if kind == "pulse" and values else {}
    given = {**known, **values}
    if kind == "pulse" and values:
        given["wall_s"] = rig.wall_s + rig.now_ns * 1e-9
    if kind == "setup":
        given = rig.setup
    return rig.gate.step(GateInput(len(rig.inputs), rig.now_ns, kind, given))  # type: ignore[arg-type]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", sorted(INPUTS))
def test_every_state_takes_every_input(state: MachineState, name: str) -> None:
    rig = in_state(state)
    assert rig.at() == state
    outputs = feed(rig, name)
    here: MachineState = state
    for one in outputs:
        if one.kind == "transition":
            assert one.values["from"] == here
            assert one.values["to"] in TRANSITIONS[here]
            here = one.values["to"]
    assert here == rig.at()
    assert not [one for one in outputs if one.values.get("what") == "internal"]
    leases = [one for one in outputs if one.lease is not None]
    if state in ("INIT", "DISARMED", "FAULT", "LOCKOUT", "SAFE_STOP"):
        assert not leases
    if name in STOPPING and (state != "INIT" or name not in ("log failed",)):
        assert not leases
        assert here in ("DISARMED", "FAULT", "INIT")
    if state == "FAULT" and name != "reset":
        assert here == "FAULT"
    if name == "stop":
        assert outputs[0].values["action"] == "stop"
        assert here == ("FAULT" if state == "FAULT" else "DISARMED")


@pytest.mark.parametrize("state", STATES)
def test_a_machine_takes_no_step_outside_its_table(state: MachineState) -> None:
    for to in STATES:
        machine = Machine()
        machine._state = state  # what no one else does
        if to in TRANSITIONS[state]:
            assert machine.go(to, "why") == {"from": state, "to": to, "reason": "why"}
        else:
            with pytest.raises(IllegalTransition, match=f"{state} must be followed by"):
                machine.go(to, "why")
            assert machine.state == state


def test_every_state_can_be_reached_and_left_for_a_fault() -> None:
    assert {to for found in TRANSITIONS.values() for to in found} == set(STATES) - {"INIT"}
    assert all("FAULT" in found for state, found in TRANSITIONS.items() if state != "FAULT")
    assert all("SAFE_STOP" in found for state, found in TRANSITIONS.items() if state not in ("FAULT", "SAFE_STOP"))
    assert TRANSITIONS["FAULT"] == ("DISARMED",)
