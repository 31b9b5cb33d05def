"""Drift monitors inside a pipeline: order, identity, any cutting, resume, segments, the schema, the plan."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import parse
from neuroloop.config.source import SimulatorSettings
from neuroloop.config.tree import Config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.events import Event, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.simulator import Simulator

SIMULATOR = Simulator(SimulatorSettings(seed=5, n_channels=4, sfreq=100.0, block_s=2.0))
N = 9000
DATA, STAMPS = SIMULATOR.generate(0, N)
DATA = DATA.copy()
DATA[6000:7500, 1] *= 30.0
SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "stream" / "contracts" / "events.schema.json").read_text())
MONITORS: list[dict[str, Any]] = [
    {"name": "raw", "window_s": 2.0, "baseline": {"minutes": 0.75}, "effect": "hold"},
    {"name": "power", "tap": "bandpower", "window_s": 2.0, "baseline": {"minutes": 0.75}, "rule": "ewma"},
    {"name": "fixed", "tap": "filter", "rule": "threshold", "window_s": 2.0, "baseline": {"minutes": 0.5}},
]


def config(monitors: list[dict[str, Any]] = MONITORS) -> Config:
    stages = [
        {"kind": "filter", "name": "notch", "designs": [{"kind": "notch", "freq_hz": 30}]},
        {"kind": "filter", "designs": [{"kind": "bandpass", "low_hz": 1, "high_hz": 40}]},
        {"kind": "bandpower", "window_s": 0.5, "hop_s": 0.1, "bands": {"alpha": [8, 13]}},
    ]
    return parse({"name": "watched", "stages": stages, "drift": monitors})


def engine(monitors: list[dict[str, Any]] = MONITORS) -> Engine:
    made = config(monitors)
    return Engine(made.source, build(made, SIMULATOR.info).pipeline)


def run(cuts: list[int], made: Engine | None = None) -> list[Event]:
    made = made or engine()
    events: list[Event] = []
    for start, stop in zip([0, *cuts], [*cuts, N], strict=True):
        events += made.push(DATA[start:stop], STAMPS[start:stop])
    return [*events, *made.finish()]


WHOLE = run([])
LINES = [canonical(event) for event in WHOLE]


def drift_of(monitor: str) -> list[Event]:
    return [event for event in WHOLE if event.type == "drift" and event.values["monitor"] == monitor]


def test_every_monitor_says_baseline_onset_and_end_of_the_injected_gain() -> None:
    for name in ("raw", "power"):
        events = drift_of(name)
        assert [event.values["what"] for event in events][:2] == ["baseline", "onset"], name
        onset = events[1]
        assert onset.values["channels"][0].startswith(SIMULATOR.info.ch_names[1])
        assert 6000 < onset.sample < 6800
        assert onset.sample == onset.values["last_sample"]
        assert events[2].values["what"] == "end"
        assert events[2].values["first_sample"] == onset.sample
    assert drift_of("raw")[1].values["hold"] is True
    assert drift_of("power")[1].delay_s > 0.2


def test_the_time_is_the_stamp_of_the_newest_sample() -> None:
    for event in WHOLE:
        if event.type == "drift":
            assert event.time == STAMPS[event.sample]


def test_every_event_fits_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    delivery = {"age_s": None, "latency_s": None, "host": None, "wall_time": None}
    for line in LINES:
        validator.validate({**json.loads(line), **delivery})
    onset = json.loads(canonical(drift_of("raw")[1])) | delivery
    for wrong in ({"duration_s": 1.0}, {"unknown": 1}, {"hold": None}, {"arm": "all"}, {"what": "start"}):
        assert not validator.is_valid({**onset, **wrong}), wrong
    assert not validator.is_valid({key: value for key, value in onset.items() if key != "score"})


def test_ids_are_distinct_and_events_in_order() -> None:
    assert len({event.id for event in WHOLE}) == len(WHOLE)
    assert [event.order for event in WHOLE] == sorted(event.order for event in WHOLE)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=30).map(sorted))
def test_events_do_not_depend_on_chunking(cuts: list[int]) -> None:
    assert [canonical(event) for event in run(cuts)] == LINES


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, N))
def test_resuming_anywhere_equals_never_having_stopped(cut: int) -> None:
    first, second = engine(), engine()
    events = first.push(DATA[:cut], STAMPS[:cut])
    second.sequencer.set_state(first.sequencer.get_state())
    second.pipeline.set_state(first.pipeline.get_state())
    events += [*second.push(DATA[cut:], STAMPS[cut:]), *second.finish()]
    assert [canonical(event) for event in events] == LINES


def test_a_long_gap_leaves_the_baseline_and_goes_on() -> None:
    keep = np.r_[0:5000, 5300:N]
    made = engine()
    events = [*made.push(DATA[keep], STAMPS[keep]), *made.finish()]
    raw = [event for event in events if event.type == "drift" and event.values["monitor"] == "raw"]
    assert [event.values["what"] for event in raw].count("baseline") == 1
    assert [event.values["what"] for event in raw][:3] == ["baseline", "onset", "end"]
    assert raw[1].sample > 6000


def test_an_open_alarm_ends_with_the_stream() -> None:
    made = engine()
    events = [*made.push(DATA[:7000], STAMPS[:7000]), *made.finish()]
    ends = [event for event in events if event.type == "drift" and event.values.get("why") == "stream over"]
    assert {event.values["monitor"] for event in ends} >= {"raw", "power"}
    assert all(event.sample <= 6999 for event in ends)


def test_monitors_change_nothing_else_but_the_plan() -> None:
    plain = [canonical(event) for event in run([], engine([]))]
    assert [canonical(event) for event in WHOLE if event.type != "drift"] == plain
    hashes = {build(config(MONITORS[:n]), SIMULATOR.info).plan.hash for n in range(4)}
    assert len(hashes) == 4
    monitors = build(config(), SIMULATOR.info).plan.as_dict()["monitors"]
    assert [one["window_s"] for one in monitors] == [2.0, 2.0, 2.0]


def test_the_score_is_the_largest_and_absent_before_a_baseline() -> None:
    made = engine()
    assert math.isnan(made.pipeline.drift_score)
    made.push(DATA[:2900], STAMPS[:2900])
    assert math.isnan(made.pipeline.drift_score)
    made.push(DATA[2900:6500], STAMPS[2900:6500])
    assert made.pipeline.drift_score > 1.0


def test_an_unknown_tap_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"drift\.0\.tap must be one of input, .*, got 'nothing'"):
        build(config([{"tap": "nothing"}]), SIMULATOR.info)


def test_a_bundle_baseline_without_a_bundle_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"drift\.0 \(drift\): baseline\.source must not be 'bundle' where the bundle"
    ):
        build(config([{"baseline": {"source": "bundle"}}]), SIMULATOR.info)
