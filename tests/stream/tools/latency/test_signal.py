"""The signal of a closed-loop measurement and the LSTM that recognises it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.tree import ClassifierSettings, Config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.tools.latency.detector import make_detector, make_threshold, stream_of
from neuroloop.stream.tools.latency.onsets import OnsetPlan, OnsetSignal

PLAN = OnsetPlan(25, lead_s=1.0, tail_s=0.5)


def rows_of(signal: OnsetSignal) -> FloatArray:
    data = np.empty((signal.n_rows, signal.info.n_channels))
    for index in range(signal.n_rows):
        signal.row(index, data[index])
    return data


def test_onsets_are_seeded_irregular_and_keep_their_distance() -> None:
    info = stream_of(2, 1000.0, "bench")
    signal, again = OnsetSignal(info, PLAN), OnsetSignal(info, PLAN)
    other = OnsetSignal(info, OnsetPlan(25, lead_s=1.0, tail_s=0.5, seed=1))
    gaps = np.diff(signal.onsets)
    assert len(signal.onsets) == 25
    assert signal.onsets[0] == 1000
    assert gaps.min() >= 160
    assert gaps.max() <= 260
    assert len(np.unique(gaps)) > 15
    assert (signal.onsets == again.onsets).all()
    assert (signal.onsets != other.onsets).any()
    assert signal.n_rows == signal.onsets[-1] + 60 + 500


def test_a_burst_begins_with_its_onset_and_nothing_of_it_is_left_behind_its_end() -> None:
    signal = OnsetSignal(stream_of(2, 1000.0, "bench"), PLAN, "step")
    size = rows_of(signal).mean(axis=1)
    onset = int(signal.onsets[3])
    assert abs(size[onset - 1]) < 50
    assert size[onset] > 350
    assert size[onset + 59] > 350
    assert abs(size[onset + 60]) < 50


def test_rows_belong_to_the_last_onset_before_them() -> None:
    signal = OnsetSignal(stream_of(2, 1000.0, "bench"), PLAN)
    first, second = signal.onsets[:2].tolist()
    assert [signal.onset_before(row) for row in (first - 1, first, second - 1, second)] == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("kind", "n_channels", "sfreq", "latest_s"),
    [("tone", 64, 1000.0, 0.04), ("tone", 8, 250.0, 0.04), ("step", 64, 1000.0, 0.01)],
)
def test_the_network_set_by_hand_answers_every_onset_once_and_nothing_else(
    tmp_path: Path, kind: str, n_channels: int, sfreq: float, latest_s: float
) -> None:
    info = stream_of(n_channels, sfreq, "bench")
    make = make_detector if kind == "tone" else make_threshold
    bundle = ClassifierSettings(bundle=str(make(tmp_path / "bundle", info)))
    built = build(Config(name="bench", classifier=bundle), info)
    settled = OnsetPlan(25, tail_s=0.5)  # the notch rings for seconds
    signal = OnsetSignal(info, settled, "tone" if kind == "tone" else "step")
    engine = Engine(Config(name="bench").source, built.pipeline)
    events = engine.push(rows_of(signal), np.arange(signal.n_rows) / sfreq)
    starts = [one.sample for one in events if one.type == "state" and one.values["state"] == "burst"]
    assert [signal.onset_before(row) for row in starts] == list(range(25))
    delays = [row - int(onset) for row, onset in zip(starts, signal.onsets, strict=True)]
    assert max(delays) / sfreq <= latest_s
    assert built.plan.delay_s == pytest.approx(0.0 if kind == "step" else 0.07, abs=0.01)
