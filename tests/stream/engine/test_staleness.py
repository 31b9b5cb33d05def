"""Samples that waited too long: a decision live, a given in replay, and the same events from both."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.source import SourceSettings
from neuroloop.config.stages import FilterSettings
from neuroloop.processors.stages.registry import build_stage
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import Pipeline
from neuroloop.stream.engine.staleness import Policy, Skip, Staleness, skips_of
from neuroloop.stream.replay.scripted_engine import ScriptedEngine
from neuroloop.stream.sources.recordings.run_script import Arrival, RunScript, merge_scripts, script_of

INFO = StreamInfo("amp", "EEG", "a-1", 100.0, ("C3", "C4"), ("EEG", "EEG"), ("uV", "uV"))


class Rows:
    """Collects what a tap gives."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes, bool]] = []

    def __call__(self, chunk) -> None:  # type: ignore[no-untyped-def]
        for i in range(len(chunk)):
            self.lines.append((chunk.first_sample + i, chunk.data[i].tobytes(), bool(chunk.valid[i])))


def engine(rows: Rows | None = None, tap: str = "f") -> Engine:
    settings = FilterSettings.model_validate(
        {"kind": "filter", "name": "f", "designs": [{"kind": "bandpass", "low_hz": 1, "high_hz": 30, "order": 2}]}
    )
    stage = build_stage(settings, INFO)
    pipeline = Pipeline(INFO, [stage], taps={tap: rows} if rows is not None else {})
    return Engine(SourceSettings(timing="regular"), pipeline)


def signal(n: int = 900, seed: int = 5) -> RawBlock:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, 2))
    data[200:203] = np.nan
    cells = np.arange(n)
    cells[400:] += 7  # lost, and filled
    cells[600:] += 300  # lost, too many to be filled
    return RawBlock(data, 10.0 + cells / 100.0)


@pytest.mark.parametrize("policy", ["skip_to_newest", "refuse"])
def test_only_what_is_beyond_the_limit_is_too_old(policy: Policy) -> None:
    staleness = Staleness(SourceSettings(staleness=policy, max_backlog_s=0.5), 100.0)
    assert staleness.decide(7, 50) is None
    assert staleness.decide(7, 51) == Skip(7, 1, policy)
    assert staleness.decide(100, 400) == Skip(100, 350, policy)


def test_nothing_is_too_old_by_default_or_without_a_rate() -> None:
    assert Staleness(SourceSettings(), 100.0).decide(0, 10**6) is None
    assert Staleness(SourceSettings(staleness="refuse"), 0.0).decide(0, 10**6) is None


def test_skipped_samples_are_numbered_and_counted_but_not_processed() -> None:
    rows, block = Rows(), signal(300)
    subject = engine(rows)
    subject.push_block(block.rows(0, 50))
    events = subject.push_late(block.rows(50, 180), Skip(50, 100, "skip_to_newest"))
    assert [line[0] for line in rows.lines] == [*range(50), *range(150, 180)]
    assert [event.id for event in events] == ["amp/skip/150/0"]
    assert events[0].values == {"policy": "skip_to_newest", "n": 100, "first_arrival": 50, "first_skipped": 50}
    assert events[0].time == block.timestamps[150]
    books = subject.books()
    assert (books.received, books.processed, books.counted["skipped"]) == (180, 80, 100)
    fresh = Rows()
    anew = engine(fresh)
    anew.push_block(block.rows(150, 180))
    assert [line[1] for line in fresh.lines] == [line[1] for line in rows.lines[50:]]  # stages began anew


def test_refused_samples_are_processed_and_flagged() -> None:
    rows, plain, block = Rows(), Rows(), signal(190)
    subject = engine(rows, "input")
    subject.push_block(block.rows(0, 50))
    events = subject.push_late(block.rows(50, 180), Skip(50, 100, "refuse"))
    engine(plain, "input").push_block(block.rows(0, 180))
    assert [line[:2] for line in rows.lines] == [line[:2] for line in plain.lines]
    assert not any(line[2] for line in rows.lines[50:150])
    assert all(line[2] for line in plain.lines)
    assert events[0].values["policy"] == "refuse"
    assert subject.books().processed == 180


@settings(max_examples=40, deadline=None)
@given(
    skips=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 120), st.sampled_from(["skip_to_newest", "refuse"]))),
    marks=st.lists(st.tuples(st.integers(0, 899), st.integers(0, 60)), max_size=6),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=30),
)
def test_a_replay_that_is_told_the_same_gives_the_same_events(
    skips: list[tuple[int, int, Policy]], marks: list[tuple[int, int]], cuts: list[int]
) -> None:
    block, decisions, at = signal(), [], 0
    for pause, n, policy in skips:
        if at + pause + n + 20 > 900:
            break
        decisions.append(Skip(at + pause, n, policy))
        at += pause + n + 20
    arrivals = [
        Arrival(k, n_before, Marker(float(block.timestamps[max(0, n_before - late)]) - 0.003, f"m{k}", "keys"))
        for k, (n_before, late) in enumerate(sorted(marks))
    ]
    live_rows, live = Rows(), []
    subject = engine(live_rows)
    begins = sorted({0, 900, *(one.n_before for one in arrivals), *(one.first_arrival for one in decisions)})
    begins = [b for b in begins if not any(one.first_arrival < b < one.end + 20 for one in decisions)]
    # markers that came while rows were skipped are handed over before the read, as the hot loop does
    taken = 0
    for begin, end in pairwise(begins):
        due = [one for one in arrivals[taken:] if one.n_before <= begin]
        arrivals[taken : taken + len(due)] = [one._replace(n_before=begin) for one in due]
        taken += len(due)
        subject.add_markers([one.marker for one in due])
        skip = next((one for one in decisions if one.first_arrival == begin), None)
        piece = block.rows(begin, end)
        live += subject.push_block(piece) if skip is None else subject.push_late(piece, skip)
    arrivals[taken:] = [one._replace(n_before=900) for one in arrivals[taken:]]
    subject.add_markers([one.marker for one in arrivals[taken:]])
    live += subject.finish()

    replay_rows = Rows()
    script = RunScript("amp", tuple(arrivals), tuple(decisions))
    replay = ScriptedEngine(engine(replay_rows), script)
    told: list[Event] = []
    at = k = 0
    while at < 900:
        told += replay.push(block.rows(at, at + cuts[k % len(cuts)]))
        at, k = at + cuts[k % len(cuts)], k + 1
    told += replay.finish()
    assert replay_rows.lines == live_rows.lines
    ordered = sorted(live, key=lambda event: event.order)
    assert [canonical(event) for event in told] == [canonical(event) for event in ordered]


def test_a_loss_of_the_stream_is_told_again_at_its_sample() -> None:
    lost = Event("stream", "amp", 120, 1, 11.2, 0.0, {"what": "lost"}, 99)
    replay = ScriptedEngine(engine(), RunScript("amp", told=(lost,)))
    events = replay.push(signal(300)) + replay.finish()
    assert [event.id for event in events] == ["amp/stream/0/0", "amp/stream/120/1"]


def test_decisions_are_read_from_events_and_nonsense_is_left_out() -> None:
    good: dict[str, Any] = {"type": "skip", "policy": "refuse", "n": 3, "first_arrival": 9}
    odd: list[dict[str, Any]] = [
        {**good, "n": 0},
        {**good, "policy": "x"},
        {**good, "first_arrival": None},
        {"type": "state"},
    ]
    assert skips_of([*odd, good, good]) == (Skip(9, 3, "refuse"),)


def test_a_script_is_moved_to_the_rows_that_were_recorded() -> None:
    script = RunScript(
        "amp",
        (Arrival(0, 5, Marker(1.0, "a", "m")), Arrival(1, 60, Marker(2.0, "b", "m"))),
        (Skip(15, 10, "refuse"), Skip(30, 5, "refuse")),
    )
    merged = merge_scripts([script, script], [(0, 20), (50, 50)])
    assert [one.n_before for one in merged.arrivals] == [5, 30]
    assert merged.skips == (Skip(15, 5, "refuse"),)


def test_events_of_another_stream_are_not_taken() -> None:
    record = {"id": "b/skip/9/0", "type": "skip", "stream": "b", "sample": 9, "time": 1.0,
              "policy": "refuse", "n": 3, "first_arrival": 9}  # fmt: skip
    assert script_of("amp", (), [record]) == RunScript("amp")
    assert script_of("b", (), [record]).skips == (Skip(9, 3, "refuse"),)


def test_a_run_folder_without_signals_is_refused_in_one_line(tmp_path: Path) -> None:
    from neuroloop.config.errors import RecordingError
    from neuroloop.stream.sources.recordings.opening import open_recording

    with pytest.raises(RecordingError, match=r"a folder without signals\.xdf"):
        open_recording(tmp_path)
