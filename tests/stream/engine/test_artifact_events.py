"""Artifact episodes as events of the pipeline: identity, order, the schema, jumps and the end."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.config.stages import AmplitudeLimit, ArtifactSettings, FlatLimit, GradientLimit
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.contracts.events import DELIVERY_FIELDS, Event, Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.simulator import Simulator

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[3] / "stream" / "contracts" / "events.schema.json").read_text(encoding="utf-8")
)
FIRST = ArtifactSettings(
    kind="artifacts",
    amplitude=AmplitudeLimit(limit=300, baseline_s=0.5),
    gradient=GradientLimit(limit=250),
    flat=FlatLimit(limit=0.01, flat_s=0.4),
    recover_s=0.1,
    max_bad_channels=8,
)
SECOND = FIRST.model_copy(update={"name": "again", "max_bad_channels": 0})
MONITOR = load_config("monitor")
CONFIG = MONITOR.model_copy(update={"stages": (FIRST, MONITOR.stages[0], MONITOR.stages[1], SECOND, MONITOR.stages[2])})
SIMULATOR = Simulator(SimulatorSettings(seed=3, n_channels=8, sfreq=250.0))
N_SAMPLES = 2000


def spoiled() -> tuple[FloatArray, FloatArray]:
    data, stamps = SIMULATOR.generate(0, N_SAMPLES)
    data = data.copy()
    data[400:430, 2] += 2000.0
    data[420:425, 5] -= 2000.0
    data[900:1100, 1] = 4.0
    data[1990:, 0] += 2000.0
    return data, stamps


DATA, STAMPS = spoiled()


def engine() -> Engine:
    made = Engine(CONFIG.source, build(CONFIG, SIMULATOR.info).pipeline)
    made.add_markers([Marker(1.7, "in the middle"), Marker(999.0, "too late")])
    return made


def run(cuts: list[int], jump: int = 0) -> list[Event]:
    """Push all samples but ``jump`` ones from sample 1000 on."""
    rows = np.r_[0:1000, 1000 + jump : N_SAMPLES]
    made = engine()
    events: list[Event] = []
    for start, stop in itertools.pairwise([0, *[min(cut, len(rows)) for cut in cuts], len(rows)]):
        events += made.push(DATA[rows[start:stop]], STAMPS[rows[start:stop]])
    return events + made.finish()


WHOLE = [canonical(event) for event in run([])]
JUMPED = [canonical(event) for event in run([], jump=300)]


def artifacts(events: list[Event], stage: str) -> list[tuple[str, list[str], int, int, int, bool]]:
    names = ("kind", "channels", "first_sample", "last_sample")
    return [
        (*(event.values[name] for name in names), event.sample, event.values["open"])
        for event in events
        if event.type == "artifact" and event.values["stage"] == stage
    ]


def test_every_episode_is_told_once_when_it_closes_or_the_stream_ends() -> None:
    ch = SIMULATOR.info.ch_names
    found = artifacts(run([]), "artifacts")
    assert ("gradient", [ch[2], ch[5]], 400, 430, 455, False) in found
    # bins of 12 samples: the eight from 900 to 995 are flat
    assert ("flat", [ch[1]], 996, 1099, 1124, False) in found
    assert ("gradient", [ch[0]], 1990, 1990, 1999, True) in found
    assert ("amplitude", [ch[0]], 1990, 1999, 1999, True) in found


def test_an_artifact_event_carries_the_stamp_of_the_sample_it_closed_at() -> None:
    for event in run([]):
        if event.type == "artifact":
            assert event.time == STAMPS[event.sample]
            assert event.delay_s >= 0.0
    delays = {event.values["stage"]: event.delay_s for event in run([]) if event.type == "artifact"}
    assert delays["artifacts"] == 0.0
    assert delays["again"] > 0.0


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(0, N_SAMPLES), max_size=20).map(sorted))
def test_events_do_not_depend_on_chunking(cuts: list[int]) -> None:
    assert [canonical(event) for event in run(cuts)] == WHOLE
    assert [canonical(event) for event in run(cuts, jump=300)] == JUMPED


def test_one_sample_at_a_time_gives_the_same_events() -> None:
    assert [canonical(event) for event in run(list(range(1, N_SAMPLES)))] == WHOLE


@settings(max_examples=5, deadline=None)
@given(cut=st.integers(0, N_SAMPLES))
def test_resuming_anywhere_equals_never_having_stopped(cut: int) -> None:
    first, second = engine(), Engine(CONFIG.source, build(CONFIG, SIMULATOR.info).pipeline)
    events = first.push(DATA[:cut], STAMPS[:cut])
    second.sequencer.set_state(first.sequencer.get_state())
    second.pipeline.set_state(first.pipeline.get_state())
    events += second.push(DATA[cut:], STAMPS[cut:]) + second.finish()
    assert [canonical(event) for event in events] == WHOLE


@pytest.mark.parametrize("jump", [0, 300])
def test_events_are_ordered_distinct_and_obey_the_schema(jump: int) -> None:
    events = run([], jump=jump)
    assert [event.order for event in events if event.type == "artifact"] == sorted(
        event.order for event in events if event.type == "artifact"
    )
    assert len({event.id for event in events}) == len(events)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for event in events:
        validator.validate({**event.identity(), **dict.fromkeys(DELIVERY_FIELDS)})


def test_the_schema_refuses_an_artifact_with_another_field() -> None:
    (event, *_) = [event for event in run([]) if event.type == "artifact"]
    line = {**event.identity(), **dict.fromkeys(DELIVERY_FIELDS)}
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert not validator.is_valid({**line, "channel": "C3"})
    assert not validator.is_valid({**line, "kind": "blink"})
    assert not validator.is_valid({key: value for key, value in line.items() if key != "open"})


def test_a_jump_of_the_numbering_ends_open_episodes_at_the_sample_after_it() -> None:
    rows = np.r_[0:1050, 1500:N_SAMPLES]
    made = engine()
    events = made.push(DATA[rows], STAMPS[rows])
    found = [one for one in artifacts(events, "artifacts") if one[0] == "flat"]
    assert found == [("flat", [SIMULATOR.info.ch_names[1]], 996, 1049, 1500, True)]
    at_jump = [event.type for event in events if event.sample == 1500]
    assert at_jump[:2] == ["gap", "artifact"]


def test_a_pipeline_without_reporters_asks_nobody() -> None:
    made = build(MONITOR, SIMULATOR.info).pipeline
    assert made._reports == {}
