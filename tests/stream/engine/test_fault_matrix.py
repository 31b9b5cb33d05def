"""Every fault under every timing mode: what is counted, that the books balance, that the state is right afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest

from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings, TimingSettings
from neuroloop.stream.assembly.build import Built, build
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, RawBlock
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.playback.faults.spec import parse_faults
from neuroloop.stream.playback.faults.truth import InjectedFault
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator
from tests.stream.engine.fault_matrix import MATRIX, MODES
from tests.stream.playback.faults.disturbing import disturb_blocks, disturb_stream
from tests.stream.sources.simulated import simulated_rows

SFREQ, LENGTH_S = 250.0, 14.0
N = round(SFREQ * LENGTH_S)
CASES = [
    pytest.param(row.spec, mode, counted, id=f"{row.spec}-{mode}")
    for row in MATRIX
    for mode, counted in zip(MODES, row.counted, strict=True)
]
_QUIET = ("received",)


@dataclass
class Run:
    """What one pass gave."""

    engine: Engine
    events: list[Event] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    n_pushed: int = 0

    @property
    def predictions(self) -> dict[int, Event]:
        return {event.k: event for event in self.events if event.type == "prediction"}

    @property
    def states(self) -> dict[int, str]:
        """The state in force after every row."""
        found: dict[int, str] = {}
        state = "unknown"
        for event in self.events:
            if event.type == "prediction":
                found[event.k] = state
            elif event.type == "state":
                state = event.values["state"]
                found[event.k] = state
        return found


@cache
def signal() -> RecordedStream:
    """Fourteen seconds of the simulator, far from time 0."""
    made = simulated_rows(
        Simulator(SimulatorSettings(seed=7, n_channels=8, sfreq=SFREQ, block_s=3.0), t0=1000.0), LENGTH_S
    )
    return RecordedStream(made.info, made.data, made.timestamps)


def demo() -> Built:
    return build(load_config("demo"), signal().info)


def run_blocks(blocks: list[RawBlock], timing: TimingSettings, built: Built, first_sample: int = 0) -> Run:
    chunks: list[Chunk] = []
    run = Run(Engine(timing, built.pipeline, chunks.append, first_sample=first_sample), chunks=chunks)
    for block in blocks:
        run.n_pushed += len(block.timestamps)
        run.events.extend(run.engine.push_block(block))
    run.events.extend(run.engine.finish())
    return run


def blocks_of(stream: RecordedStream, start: int = 0, size: int = 37) -> list[RawBlock]:
    numbers = stream.sample_numbers
    return [
        RawBlock(
            stream.data[begin : begin + size],
            stream.timestamps[begin : begin + size],
            None if numbers is None else numbers[begin : begin + size],
        )
        for begin in range(start, stream.n_samples, size)
    ]


def disturbed(spec: str, mode: str) -> tuple[list[RawBlock], tuple[InjectedFault, ...]]:
    base = signal()
    numbers = np.arange(N) if mode == "counter" else None
    return disturb_blocks(
        [RawBlock(base.data, base.timestamps, numbers)], base.info, parse_faults([spec]), block_samples=37
    )


@cache
def fresh(start: int, first_sample: int) -> Run:
    """A run that begins at a true sample, numbered ``first_sample``."""
    return run_blocks(blocks_of(signal(), start), TimingSettings(), demo(), first_sample)


def counted_text(run: Run, n_true: int) -> str:
    """Write what was counted as the table does."""
    sequencer = run.engine.sequencer
    counts = {name: f"{count}" for name, count in sequencer.counters.items() if count and name not in _QUIET}
    if sequencer.next_sample != n_true:
        counts["index"] = f"{sequencer.next_sample - n_true:+d}"
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "-"


def number_of(run: Run, row: FloatArray) -> int:
    """Return the number that a true row got, the last one if it was sent more than once."""
    for chunk in reversed(run.chunks):
        places = np.flatnonzero((chunk.data == row).all(axis=1) & chunk.valid)
        if len(places):
            return chunk.first_sample + int(places[-1])
    raise AssertionError("the row is not among the chunks")


@pytest.mark.parametrize(("spec", "mode", "counted"), CASES)
def test_a_fault_is_counted_as_the_table_says_and_left_behind(spec: str, mode: str, counted: str) -> None:
    blocks, (truth,) = disturbed(spec, mode)
    run = run_blocks(blocks, TimingSettings(timing=mode), demo())
    assert counted_text(run, N) == counted
    check_books(run)
    check_flagged_rows_are_unknown(run)
    check_gap_is_where_the_truth_says(run, truth)
    check_recovery(run, truth)


def check_books(run: Run) -> None:
    books, sequencer = run.engine.books(), run.engine.sequencer
    assert books.received == run.n_pushed == books.processed + sum(books.counted.values())
    counts = sequencer.counters
    assert sequencer.next_sample - sequencer.start == counts["received"] + counts["filled"] + counts["jumped"]
    assert sum(map(len, run.chunks)) == counts["received"] + counts["filled"]


def check_flagged_rows_are_unknown(run: Run) -> None:
    states = run.states
    assert len(states) >= 40
    for k, event in run.predictions.items():
        if not event.values["valid"]:
            assert states[k] == "unknown"


def check_gap_is_where_the_truth_says(run: Run, truth: InjectedFault) -> None:
    gaps = [event for event in run.events if event.type == "gap"]
    if truth.kind in ("cut", "reconnect", "gap") and gaps:
        (gap,) = gaps
        assert (gap.values["first_missing"], gap.values["missing"]) == (truth.first_sample, truth.n_samples)
        assert gap.time == truth.stamp_after
        assert gap.values["duration_s"] == pytest.approx(truth.duration_s, abs=1.5 / SFREQ)


def check_recovery(run: Run, truth: InjectedFault) -> None:
    """Compare with a run that begins right after the fault: the demo has no filter, all of its memory is windows."""
    start = truth.first_sample + (truth.n_samples or 0)
    reference = fresh(start, number_of(run, signal().data[start]))
    ours, theirs = run.predictions, reference.predictions
    settled = [k for k, event in theirs.items() if event.values["valid"]]
    assert len(settled) >= 10
    for k in settled:
        assert ours[k].values == theirs[k].values
        assert ours[k].sample == theirs[k].sample
    before = ours.get(settled[0] - 1)
    if before is None or not before.values["valid"]:  # the votes were emptied there, as in the fresh run
        assert {k: run.states[k] for k in settled} == {k: reference.states[k] for k in settled}


def test_every_fault_that_hides_samples_flags_rows_for_its_length_and_one_window() -> None:
    bundle = demo()
    stages = bundle.pipeline.stages
    window_samples = round(bundle.plan.warmup_s * SFREQ)
    for spec in ("cut@5s+0.5s", "gap@5s:100", "nan@5s+0.5s:Fp1"):
        blocks, (truth,) = disturbed(spec, "counter")
        run = run_blocks(blocks, TimingSettings(timing="counter"), demo())
        start, stop = truth.first_sample, truth.first_sample + (truth.n_samples or 0)
        hop = round(SFREQ / stages[-1].info_out.sfreq)
        after = [event for event in run.predictions.values() if event.sample >= window_samples]
        touched = [event for event in after if start <= event.sample and event.sample - window_samples < stop - hop]
        assert touched
        for event in after:
            beyond = event.sample - stop + 1 >= window_samples
            if start <= event.sample and not beyond:
                assert not event.values["valid"], (spec, event.sample)
            elif event.sample < start or event.sample - stop + 1 >= window_samples + hop:
                assert event.values["valid"], (spec, event.sample)


def run_monitor(spec: str | None) -> dict[str, list[Chunk]]:
    rows: dict[str, list[Chunk]] = {"filter": [], "bandpower": []}
    config = load_config("monitor")
    taps: Any = {name: rows[name].append for name in rows}
    built = build(config, signal().info, taps=taps)
    blocks = blocks_of(signal()) if spec is None else disturbed(spec, "counter")[0]
    run_blocks(blocks, TimingSettings(timing="auto"), built)
    return rows


@pytest.mark.parametrize("spec", ["gap@5s:100", "nan@5s+0.5s"])
def test_what_a_filter_remembers_of_a_filled_gap_has_decayed_when_its_rows_are_valid_again(spec: str) -> None:
    whole, faulty = run_monitor(None), run_monitor(spec)
    clean = np.concatenate([chunk.data for chunk in whole["filter"]])
    data = np.concatenate([chunk.data for chunk in faulty["filter"]])
    valid = np.concatenate([chunk.valid for chunk in faulty["filter"]])
    error = np.abs(data - clean).max(axis=1)
    assert (error[: round(5 * SFREQ)] == 0).all()
    begin = round(5 * SFREQ)
    first_valid = begin + int(np.flatnonzero(valid[begin:])[0])
    assert valid[first_valid:].all()
    worst = error[begin:first_valid].max()
    assert 0 < error[first_valid:].max() <= 0.02 * worst
    settle = first_valid - begin - (100 if spec.startswith("gap") else 125)
    later = error[first_valid + settle :]
    assert later.max() <= 0.001 * worst


def test_a_jump_leaves_nothing_behind_in_a_filter_either() -> None:
    rows = run_monitor("cut@5s+2s")["filter"]
    fresh_rows: list[Chunk] = []
    built = build(load_config("monitor"), signal().info, taps={"filter": fresh_rows.append})
    run_blocks(blocks_of(signal(), 1750), TimingSettings(), built, 1750)
    expected = np.concatenate([chunk.data for chunk in fresh_rows])
    flags = np.concatenate([chunk.valid for chunk in fresh_rows])
    np.testing.assert_array_equal(np.concatenate([chunk.data for chunk in rows])[-len(expected) :], expected)
    np.testing.assert_array_equal(np.concatenate([chunk.valid for chunk in rows])[-len(flags) :], flags)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_mix_keeps_the_books_balanced_and_does_not_depend_on_cutting(mode: str, seed: int) -> None:
    base = signal()
    numbered = RecordedStream(base.info, base.data, base.timestamps, np.arange(N) if mode == "counter" else None)
    stream, truth = disturb_stream(numbered, parse_faults([f"random:{seed}"]))
    assert len(truth) == 2
    lines = []
    for size in (1 if seed == 1 and mode == "auto" else 11, 256):
        run = run_blocks(blocks_of(stream, size=size), TimingSettings(timing=mode), demo())
        check_books(run)
        check_flagged_rows_are_unknown(run)
        lines.append([event.identity() for event in run.events])
    assert lines[0] == lines[1]
