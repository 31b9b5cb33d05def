"""Smoothed stamps: the recursion, its restarts, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyxdf
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.engine.dejitter import FORGET, first_state
from neuroloop.stream.engine.sequencer import Sequencer

RAW = 700.3 + np.arange(3000) / 250.0 + np.random.default_rng(2).uniform(0, 0.02, 3000)


def sequencer(sfreq: float = 250.0, **options: Any) -> Sequencer:
    info = StreamInfo("s", "EEG", "", sfreq, ("c",), ("EEG",), ("uV",))
    return Sequencer(TimingSettings(**{"dejitter": "linear", **options}), info)


def smoothed(stamps: FloatArray, cuts: Sequence[int] = (), sfreq: float = 250.0, **options: Any) -> FloatArray:
    seq = sequencer(sfreq, **options)
    edges = [0, *cuts, len(stamps)]
    chunks = [chunk for a, b in itertools.pairwise(edges) for chunk in seq.push(np.zeros((b - a, 1)), stamps[a:b])]
    return np.concatenate([chunk.timestamps for chunk in chunks])


def recursive_line(stamps: FloatArray, sfreq: float) -> FloatArray:
    """The same least squares in matrices, in extended precision."""
    forget = np.longdouble(2.0 ** (-1.0 / (sfreq * 90.0)))
    p = np.eye(2, dtype=np.longdouble) * 1e10
    w = np.array([0.0, 1.0 / sfreq], np.longdouble)
    out = []
    for n, stamp in enumerate(stamps):
        u = np.array([1.0, n], np.longdouble)
        gain = p.dot(u) / (forget + u.dot(p).dot(u))
        w = w + gain * (np.longdouble(stamp) - np.floor(stamps[0]) - u.dot(w))
        p = (p - np.outer(gain, u.dot(p))) / forget
        out.append(float(u.dot(w) + np.floor(stamps[0])))
    return np.array(out)


def test_stamps_are_those_of_recursive_least_squares() -> None:
    np.testing.assert_allclose(smoothed(RAW), recursive_line(RAW, 250.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sfreq", [0.01, 1.0, 250.0, 30000.0])
def test_the_past_is_halved_in_ninety_seconds(sfreq: float) -> None:
    assert first_state(sfreq)[FORGET] == pytest.approx(2.0 ** (-1.0 / (90.0 * sfreq)), rel=3e-16)


def test_jitter_becomes_smaller() -> None:
    line = 700.31 + np.arange(3000) / 250.0
    assert np.abs(RAW - line)[1500:].max() > 9e-3
    assert np.abs(smoothed(RAW) - line)[1500:].max() < 1e-3


def test_numbers_and_gaps_are_those_of_the_raw_stamps() -> None:
    keep = np.r_[0:1000, 1100:2000, 2400:3000]
    plain, smooth = sequencer(dejitter="none"), sequencer()
    for seq in (plain, smooth):
        seq.push(np.zeros((len(keep), 1)), RAW[keep])
    assert plain.counters == smooth.counters
    before, after = plain.take_events(), smooth.take_events()
    assert [event.id for event in before] == [event.id for event in after]
    assert len(before) == 2


def test_filled_rows_lie_on_the_line_and_event_times_are_those_handed_on() -> None:
    keep = np.r_[0:1500, 1600:3000]
    seq = sequencer()
    (chunk,) = seq.push(np.zeros((len(keep), 1)), RAW[keep], keep)
    line = 700.31 + np.arange(len(chunk)) / 250.0
    assert np.abs(chunk.timestamps - line)[1000:].max() < 2e-3
    (gap,) = seq.take_events()
    assert gap.time == chunk.timestamps[gap.sample]


def test_a_clock_step_begins_a_new_line() -> None:
    stepped = RAW.copy()
    stepped[1500:] -= 500.0
    out = smoothed(stepped, timing="bursty")
    assert out[1500] == pytest.approx(stepped[1500], abs=1e-6)
    np.testing.assert_allclose(out[1500:], recursive_line(stepped[1500:], 250.0), rtol=0, atol=1e-6)


def test_a_jump_begins_a_new_line() -> None:
    keep = np.r_[0:1000, 2000:3000]
    out = smoothed(RAW[keep], timing="bursty")
    np.testing.assert_allclose(out[1000:], recursive_line(RAW[2000:], 250.0), rtol=0, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 2500), max_size=10).map(sorted))
def test_smoothed_stamps_do_not_depend_on_chunking(cuts: list[int]) -> None:
    stamps = RAW[np.r_[0:900, 950:1500, 1950:3000]]
    assert smoothed(stamps, cuts).tobytes() == smoothed(stamps).tobytes()


def test_smoothing_resumes_at_any_sample() -> None:
    whole = smoothed(RAW)
    for cut in (0, 1, 500, 2999):
        first, second = sequencer(), sequencer()
        parts = [first.push(np.zeros((cut, 1)), RAW[:cut])]
        second.set_state(first.get_state())
        parts.append(second.push(np.zeros((3000 - cut, 1)), RAW[cut:]))
        got = np.concatenate([chunk.timestamps for part in parts for chunk in part])
        assert got.tobytes() == whole.tobytes()


def test_stamps_stay_raw_unless_it_is_asked_for() -> None:
    assert TimingSettings().dejitter == "none"
    assert smoothed(RAW, dejitter="none").tobytes() == RAW.tobytes()
    assert smoothed(RAW, sfreq=0.0).tobytes() == RAW.tobytes()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "tolerance_ms", "median_ms"),
    [
        ("openbci-emg/handTwo", 10.0, 0.5),
        ("openbci-emg/three_motion_one", 5.0, 1.5),
        ("openbci-emg/three_motion_personA", 15.0, 2.0),
        ("openbci-1khz/test", 3.0, 1.5),
        ("muse-multistream/sub-P002_ses-S001_task-Default_run-001_eeg", 1.5, 0.8),
    ],
)
def test_smoothed_stamps_come_close_to_a_regression_over_the_whole_recording(
    shared_data: Path, name: str, tolerance_ms: float, median_ms: float
) -> None:
    # after five seconds; the regression knows the future, and its line does not bend with a drifting clock
    raw, fitted = (
        pyxdf.load_xdf(
            str(shared_data / "xdf" / f"{name}.xdf"),
            synchronize_clocks=False,
            dejitter_timestamps=dejitter,
            verbose=False,
        )[0]
        for dejitter in (False, True)
    )
    compared = 0
    for one, other in zip(raw, fitted, strict=True):
        sfreq = float(one["info"]["nominal_srate"][0])
        if sfreq == 0 or len(one["time_stamps"]) == 0:
            continue
        settled = round(5 * sfreq)
        distance = np.abs(smoothed(one["time_stamps"], sfreq=sfreq) - other["time_stamps"])[settled:]
        assert distance.max() < tolerance_ms * 1e-3
        assert np.median(distance) < median_ms * 1e-3
        compared += 1
    assert compared > 0
