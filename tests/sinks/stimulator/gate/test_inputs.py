"""Inputs are read once, at the door, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from neuroloop.sinks.stimulator.gate.inputs import (
    DeviceInput,
    EventInput,
    OperatorInput,
    Place,
    Prediction,
    StreamChange,
    read_input,
)
from neuroloop.sinks.stimulator.records import GateInput

PREDICTION = {"type": "prediction", "sample": 9, "label": "alpha", "confidence": 0.9, "valid": True}
ANSWER = {"kind": "ack", "lease": 1, "is_on": True, "delivered_uc": None}


def read(kind: Any, values: dict[str, Any]) -> Any:
    """Return one input as the gate reads it."""
    return read_input(GateInput(1, 0, kind, values))


def test_a_decision_is_read_with_its_place_and_when_its_newest_sample_arrived() -> None:
    one = read("event", {**PREDICTION, "time": None, "arrival_ns": 5})
    assert one == EventInput(Prediction(Place(9, 0, None, None), "alpha", 0.9, is_valid=True), 5)
    assert one.is_decision
    assert read("event", {**PREDICTION, "arrival_ns": True}).arrival_ns is None


@pytest.mark.parametrize("values", [{"type": "marker"}, {"type": "drift", "what": "else"}, {"type": "window"}])
def test_events_that_say_nothing_to_the_gate_are_read_as_nothing(values: dict[str, Any]) -> None:
    assert read("event", values) == EventInput(None, None)


def test_a_step_of_the_clock_is_read_with_its_size() -> None:
    values = {"type": "stream", "what": "clock_step", "step_s": 1}
    assert read("event", values).said == StreamChange("clock_step", 1.0, None)


@pytest.mark.parametrize("action", ["stop", "disarm"])
def test_a_stop_is_read_whatever_else_is_wrong_with_it(action: str) -> None:
    values = {"action": action, "channel": "file", "authorised": "?", "override": 3}
    assert read("operator", values) == OperatorInput(action, "file")  # type: ignore[arg-type]  # parametrised text


def test_of_a_lost_device_only_the_reason_is_read() -> None:
    assert read("device", {"kind": "lost", "lease": "?", "reason": "gone"}) == DeviceInput("lost", reason="gone")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("event", {}, "type must be text, got None"),
        ("event", {**PREDICTION, "label": 3}, "label must be text, got 3"),
        ("event", {**PREDICTION, "sample": -1}, "sample must be a whole number of at least 0, got -1"),
        ("event", {**PREDICTION, "valid": 1}, "valid must be true or false, got 1"),
        ("event", {"type": "stream", "what": "clock_step"}, "step_s must be a finite number, got None"),
        ("pulse", {}, "received must be a whole number of at least 0, got None"),
        ("operator", {"action": "go", "channel": "x"}, "action must be a known one, got 'go'"),
        ("operator", {"action": "arm", "channel": "x"}, "authorised must be true or false, got None"),
        ("device", {**ANSWER, "command": 1}, "command must be text, got 1"),
        ("log", {}, "what must be text, got None"),
        ("odd", {}, "kind must be a known one, got 'odd'"),
    ],
)
def test_what_is_not_as_agreed_is_named(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(kind, values)
