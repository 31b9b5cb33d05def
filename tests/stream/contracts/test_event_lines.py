"""Lines of events that others may have edited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neuroloop.stream.contracts.event_lines import parse_event

MARKER = {"id": "s/marker/7/0", "type": "marker", "stream": "s", "sample": 7, "time": 1.5, "delay_s": 0.0, "label": "x"}


def line(**changes: Any) -> str:
    return json.dumps(MARKER | changes)


def test_an_event_comes_back_as_it_was_written() -> None:
    assert parse_event(line()) == MARKER
    assert parse_event(line(time=None).encode()) == MARKER | {"time": None}
    assert parse_event(line(type="new kind", more=[1]))["more"] == [1]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "Expecting value"),
        ("5", "line must be one JSON object, got '5'"),
        ("[" * 100_000, "JSON must not be nested so deeply"),
        (line(id=5), "id must be text that ends with / and a number, got '5'"),
        (line(id="s/marker/7/" + "9" * 5000), "id must be text that ends with / and a number"),
        (line(id="s/marker/7/²"), "id must be text that ends with / and a number"),
        (line(sample="7"), "sample must be a whole number below 2.53 in size, got '7'"),
        (line(sample=True), "sample must be a whole number"),
        (line(sample=10**400), "sample must be a whole number"),
        (line(time="x"), "time must be a finite number or null, got 'x'"),
        (line(time=float("inf")), "time must be a finite number or null, got 'inf'"),
        (line(time=10**400), "time must be a finite number or null"),
        (line(label=[]), r"label must be text, got '\[\]'"),
        (line(type="gap"), "duration_s must be given, got nothing"),
        (line(type="refusal", what="start", state=None, rules=[5]), "rules must be a list of objects with a rule"),
        (line(type="stream", what="start", sfreq="x"), "sfreq must be a finite number"),
        (
            line(type="command", action="start", amplitude_ma="x"),
            "amplitude_ma must be a finite number or null",
        ),
    ],
)
def test_what_no_event_holds_is_refused_by_the_name_of_the_field(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse_event(text)
