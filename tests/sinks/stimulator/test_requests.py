"""From states to recommendations and requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.recommendations import load_table, table_names
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.records import GateInput
from neuroloop.sinks.stimulator.requests import Recommender
from neuroloop.stream.contracts.events import Event, encode
from tests.sinks.stimulator.rig import EXAMPLE, settings, setup_of


def state(name: str, sample: int, confidence: float = 0.92) -> Event:
    return Event(
        "state", "eeg", sample, 3, sample / 250, 0.5, {"state": name, "previous": None, "confidence": confidence}
    )


def test_the_example_table_has_its_three_rows() -> None:
    rows = load_table("adaptive_stimulation").states
    assert [(row.frequency_hz, row.amplitude_ma, row.pulse_width_us, row.duration_s) for row in rows] == [
        (20.0, 2.5, 200.0, 1800.0),
        (50.0, 3.5, 300.0, 2700.0),
        (100.0, 5.0, 500.0, 3600.0),
    ]
    assert [row.min_confidence for row in rows] == [0.8, 0.9, 0.95]
    assert [row.successors for row in rows] == [("medium",), ("low", "high"), ("medium",)]
    assert [row.requires_override for row in rows] == [False, False, True]
    assert table_names() == ["adaptive_stimulation"]


def test_state_events_become_requests_one_for_one() -> None:
    events = [
        state("low", 100),
        Event("gap", "eeg", 110, 0, 0.4, 0.0, {"missing": 3}),
        state("unknown", 120, 0.4),
        state("rest", 130),
        state("high", 140, 0.7),
    ]
    found = list(Recommender(EXAMPLE).requests(events))
    assert [one.id for one in found] == [f"eeg/request/{sample}/3" for sample in (100, 120, 130, 140)]
    assert [one.values()["action"] for one in found] == ["stimulate", "nothing", "nothing", "stimulate"]
    assert [one.values()["reason"] for one in found] == [
        "",
        "the state is unknown",
        "the state is not in the table",
        "",
    ]
    assert found[0].values()["is_confident"] is True
    assert found[3].values()["is_confident"] is False
    assert json.loads(found[0].line()) == {
        "id": "eeg/request/100/3",
        "type": "request",
        "stream": "eeg",
        "sample": 100,
        "time": 0.4,
        "delay_s": 0.5,
        "action": "stimulate",
        "state": "low",
        "confidence": 0.92,
        "reason": "",
        "frequency_hz": 20.0,
        "amplitude_ma": 2.5,
        "pulse_width_us": 200.0,
        "duration_s": 1800.0,
        "waveform": "biphasic",
        "min_confidence": 0.8,
        "is_confident": True,
    }


def test_the_gate_says_the_same_requests() -> None:
    events = [state("low", 100), state("rest", 130), state("high", 140, 0.7)]
    setup = setup_of(settings())
    gate = Gate(setup)
    inputs = [GateInput(0, 0, "setup", setup)]
    inputs += [
        GateInput(number, number, "event", json.loads(encode(event.identity() | {"k": event.k})))
        for number, event in enumerate(events, 1)
    ]
    said = [one for entry in inputs for one in gate.step(entry) if one.kind == "request"]
    expected = list(Recommender(EXAMPLE).requests(events))
    assert [one.values for one in said] == [one.values() for one in expected]
    assert [(one.event["sample"], one.event["k"]) for one in said] == [(one.sample, one.k) for one in expected]


def test_a_configuration_names_a_table_or_has_one() -> None:
    named = StimulationSettings(electrode_area_cm2=1.0, route="implanted", table_file="adaptive_stimulation")
    assert Recommender.from_settings(named).rows == Recommender.from_settings(settings()).rows


ROW = "  - {state: a, frequency_hz: 20, amplitude_ma: 1, pulse_width_us: 100, duration_s: 10%s}\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("states:\n" + ROW % ", amplitude: 3", [":2: states.0.amplitude must be a known setting"]),
        ("states:\n" + ROW % "" + ROW % "", ["states.1.state must be given once in a table, got 'a' again"]),
        (
            "states:\n" + ROW % ", successors: [b]",
            ["states.0.successors must name states of the table (a), got 'b'"],
        ),
        ("states:\n" + (ROW % "").replace("a,", "unknown,", 1), [":2: states.0.state must be a class"]),
        ("states:\n" + (ROW % "").replace("100", "0"), [":2: states.0.pulse_width_us must be above 0"]),
        (
            "states:\n" + (ROW % ", waveform: direct"),
            [":2: states.0.pulse_width_us must be 0 or left out for waveform 'direct', got 100.0"],
        ),
        (
            "states:\n" + (ROW % "").replace("100", "26000"),
            [":2: states.0.pulse_width_us must be at most 25000 at 20 Hz, got 26000.0"],
        ),
        ("states: []\n", [":1: states must"]),
        ("states: 3\n", [":1: states must be a list"]),
        ("description: x\n", ["states must be given, got nothing"]),
        (
            "states:\n" + ROW % "" + (ROW % "").replace("1,", "-1,").replace("10}", "0}"),
            [":3: states.1.amplitude_ma must be greater than 0", ":3: states.1.duration_s must be greater than 0"],
        ),
        ("states: [\n", [": file must be valid YAML"]),
    ],
)
def test_every_fault_of_a_table_has_its_place(tmp_path: Path, text: str, faults: list[str]) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_table(str(path))
    assert len(caught.value.faults) == len(faults)
    for found, expected in zip(caught.value.faults, faults, strict=True):
        assert expected in found
        assert found.startswith(str(path))


def test_a_json_table_names_its_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{\n\t"states": [\n\t\t{"state": "a",\n     "amplitude_ma": "much"}\n  ]\n}\n', "utf-8")
    with pytest.raises(ConfigError, match=r"t\.json:4: states\.0\.amplitude_ma must be a valid number"):
        load_table(str(path))


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"stimulation\.table_file must be a shipped table \(adaptive_stimulation\)"):
        load_table("nowhere")
