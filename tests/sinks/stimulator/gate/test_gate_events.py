"""Commands and refusals as events: valid by the schema, each with an id of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from neuroloop.sinks.stimulator.gate.machine import STATES
from neuroloop.sinks.stimulator.records import GateOutput
from neuroloop.stream.contracts.events import Event, Position, encode
from tests.sinks.stimulator.gate.test_gate import QUICK, interlocked
from tests.sinks.stimulator.gate.test_machine import INPUTS, feed, in_state
from tests.sinks.stimulator.rig import EXAMPLE, Rig, row, settings, setup_of

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[4] / "stream" / "contracts" / "events.schema.json").read_text("utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)
DELIVERY = {"age_s": None, "latency_s": None, "host": None, "wall_time": None}


def event_of(one: GateOutput) -> dict[str, Any]:
    """Return the line of an output that is an event."""
    place = one.event
    time = float("nan") if place["time"] is None else place["time"]
    kind: Any = one.kind
    made = Event(kind, place["stream"], place["sample"], place["k"], time, place["delay_s"], one.values, Position.GATE)
    return dict(json.loads(encode({**made.identity(), **DELIVERY})))


def events_of(rig: Rig) -> Iterator[dict[str, Any]]:
    """Return all events of a run."""
    for found in rig.outputs:
        for one in found:
            if one.is_event:
                yield event_of(one)


def a_long_day() -> Rig:
    """Return a run in which much happens."""
    table = (*EXAMPLE, row("alpha", requires_override=True))
    rig = Rig(setup_of(settings(table, gate=QUICK)))
    rig.decide("low")
    rig.operator("arm", authorised=False)
    rig.arm()
    for label in ("low", "medium", "high", "alpha", "rest", "low"):
        rig.stay(label, 4)
    for fault in ("gap", "stale"):
        interlocked(rig, fault)
        rig.stay("low", 3)
    rig.operator("reset")
    interlocked(rig, "dead")
    rig.is_alive = True
    rig.move(1.2)
    rig.operator("reset")
    rig.put("end", {"reason": "over"})
    return rig


def test_every_event_is_valid_and_has_its_own_id() -> None:
    lines = list(events_of(a_long_day()))
    for line in lines:
        VALIDATOR.validate(line)
    assert len({line["id"] for line in lines}) == len(lines)
    assert {line.get("action", line.get("what")) for line in lines} >= {"arm", "start", "stop", "disarm", "reset"}
    samples = [line["sample"] for line in lines]
    assert samples == sorted(samples)


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_what_any_input_makes_the_gate_say_is_valid(name: str) -> None:
    for state in STATES:
        for one in feed(in_state(state), name):
            if one.is_event:
                VALIDATOR.validate(event_of(one))


@pytest.mark.parametrize(
    "change",
    [
        {"amplitude_ma": None},
        {"state": None},
        {"action": "renew"},
        {"machine": "ARMED"},
        {"colour": "red"},
        {"shannon_k": "much"},
    ],
)
def test_a_start_that_lacks_something_is_not_valid(change: dict[str, Any]) -> None:
    start = next(line for line in events_of(a_long_day()) if line.get("action") == "start")
    assert not VALIDATOR.is_valid({**start, **change})
    missing = {key: value for key, value in start.items() if key != "charge_per_phase_uc"}
    assert not VALIDATOR.is_valid(missing)


def test_a_refusal_without_a_rule_is_not_valid() -> None:
    refusal = next(line for line in events_of(a_long_day()) if line["type"] == "refusal")
    assert VALIDATOR.is_valid(refusal)
    assert not VALIDATOR.is_valid({**refusal, "rules": []})
    assert not VALIDATOR.is_valid({**refusal, "what": "renew"})
