"""The artifact stage: each fault at its exact rows, hysteresis, flags, episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import signal

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import (
    AmplitudeLimit,
    ArtifactSettings,
    FlatLimit,
    GradientLimit,
    MuscleLimit,
    RailLimit,
)
from neuroloop.processors.artifacts.stage import Artifacts
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray
from neuroloop.stream.contracts.events import Finding
from neuroloop.stream.contracts.protocols import Reporter
from tests.processors import naive

INFO = naive.stream_info(3)
N_ROWS = 600


def stage(**options: Any) -> Artifacts:
    return Artifacts(ArtifactSettings(kind="artifacts", **options), INFO)


def quiet(n_rows: int = N_ROWS) -> FloatArray:
    return np.random.default_rng(1).standard_normal((n_rows, 3))


def mark(made: Artifacts, x: FloatArray, valid: BoolArray | None = None) -> tuple[Chunk, list[Finding]]:
    out = made.process(naive.as_chunk(x, INFO, 0, valid))
    return out, [*made.take_findings(), *made.open_findings()]


def told(findings: Sequence[Finding]) -> list[tuple[str, list[str], int, int, int, bool]]:
    return [
        (one.values["kind"], one.values["channels"], one.first_row, one.last_row, one.row, one.values["open"])
        for one in findings
    ]


def flagged(out: Chunk) -> list[int]:
    return [int(row) for row in np.flatnonzero(~out.valid)]


def test_a_clean_signal_passes_unchanged_and_unflagged() -> None:
    x = quiet()
    made = stage(
        amplitude=AmplitudeLimit(limit=20),
        gradient=GradientLimit(limit=20),
        flat=FlatLimit(limit=0.1, flat_s=0.2),
        rail=RailLimit(repeats=3),
        muscle=MuscleLimit(limit=20),
    )
    out, findings = mark(made, x)
    assert out.data.tobytes() == x.tobytes()
    assert out.valid.all()
    assert findings == []
    assert isinstance(made, Reporter)


def test_an_amplitude_makes_bad_at_once_and_good_after_the_time_to_recover() -> None:
    x = quiet()
    x[200:203, 1] += 100.0
    out, findings = mark(stage(amplitude=AmplitudeLimit(limit=50, baseline_s=100), recover_s=0.3), x)
    assert flagged(out) == list(range(200, 203 + 30 - 1))
    assert told(findings) == [("amplitude", ["c1"], 200, 202, 232, False)]
    assert findings[0].values["duration_s"] == 0.03
    assert findings[0].time == pytest.approx(10.0 + 2.32)


def test_a_shift_of_the_mean_is_bad_until_the_baseline_has_followed() -> None:
    x = np.zeros((N_ROWS, 3))
    x[100:, 0] = 100.0
    _, findings = mark(stage(amplitude=AmplitudeLimit(limit=50, baseline_s=1.0), recover_s=0.5), x)
    # the distance is 100 * 0.99**n before row 100 + n: below 50 from n = 69 on
    assert told(findings) == [("amplitude", ["c0"], 100, 168, 218, False)]


@pytest.mark.parametrize(("limit", "per"), [(50.0, "sample"), (5.0, "ms")])
def test_a_step_is_one_faulty_row(limit: float, per: Any) -> None:
    x = np.zeros((N_ROWS, 3))
    x[100:, 2] = 50.0
    x[300:, 2] = 100.5
    _, findings = mark(stage(gradient=GradientLimit(limit=limit, per=per), recover_s=0.1), x)
    assert told(findings) == [("gradient", ["c2"], 300, 300, 310, False)]


def test_a_flat_channel_is_found_within_an_eighth_more_than_its_time() -> None:
    x = quiet()
    x[203:, 1] = 7.0
    out, findings = mark(stage(flat=FlatLimit(limit=0.5, flat_s=0.8)), x)
    # bins of ten rows: the eight from 210 to 289 are whole, and row 290 comes after them
    assert told(findings) == [("flat", ["c1"], 290, 599, 599, True)]
    assert flagged(out) == list(range(290, 600))


@settings(max_examples=20, deadline=None)
@given(begin=st.integers(1, 150), length=st.integers(1, 200))
def test_flatness_equals_a_range_over_bins(begin: int, length: int) -> None:
    x = quiet(400)
    x[begin : begin + length, 0] = 3.0
    made = stage(flat=FlatLimit(limit=0.2, flat_s=0.4), recover_s=0.01)
    out = made.process(naive.as_chunk(x, INFO))
    bin_rows = 5
    for row in range(400):
        first = (row // bin_rows - 8) * bin_rows
        faulty = row // bin_rows >= 8 and bool((np.ptp(x[first : row + 1], axis=0) < 0.2).any())
        assert out.valid[row] == (not faulty)


def test_given_rails_are_faulty_at_and_beyond_them() -> None:
    x = quiet()
    x[100:110, 0] = 200.0
    x[300:310, 2] = -250.0
    _, findings = mark(stage(rail=RailLimit(low=-200, high=200), onset_s=0.05, recover_s=0.2), x)
    # bad from the fifth faulty row on
    assert told(findings) == [("rail", ["c0"], 104, 109, 129, False), ("rail", ["c2"], 304, 309, 329, False)]


def test_a_rail_recognises_itself_by_repetition_at_the_extreme() -> None:
    x = quiet()
    x[100:120, 0] = 187.5
    x[200:220, 1] = 0.01  # repeated, but in the middle of the range
    x[300:320, 0] = -187.5
    _, findings = mark(stage(rail=RailLimit(repeats=6), onset_s=0, recover_s=0.2), x)
    assert told(findings) == [("rail", ["c0"], 105, 119, 139, False), ("rail", ["c0"], 305, 319, 339, False)]


def test_faulty_time_adds_up_within_one_second_only() -> None:
    x = quiet()
    x[[100, 150, 199], 0] = 500.0  # three within a second
    x[[300, 350, 401], 1] = 500.0  # never three
    _, findings = mark(stage(rail=RailLimit(high=400), onset_s=0.03, recover_s=0.1), x)
    assert told(findings) == [("rail", ["c0"], 199, 199, 209, False)]


def test_muscle_power_equals_a_filtered_mean_square() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((N_ROWS, 3)) * 2.0
    x[250:350] += rng.standard_normal((100, 3)) * [0.0, 20.0, 0.0]
    made = stage(muscle=MuscleLimit(limit=5.0, low_hz=20, average_s=0.1), onset_s=0, recover_s=0.01)
    out = made.process(naive.as_chunk(x, INFO))
    sos = signal.butter(2, [20, 45], "bandpass", fs=100.0, output="sos")
    zi = signal.sosfilt_zi(sos)
    y = np.stack([signal.sosfilt(sos, x[:, c], zi=zi * x[0, c])[0] for c in range(3)], axis=1)
    power = signal.lfilter([0.1], [1, -0.9], y * y, axis=0)
    loud = power > 25.0
    distance = np.abs(np.sqrt(power) - 5.0).min()
    assert distance > 1e-6  # so that rounding decides nothing
    assert loud.any()
    np.testing.assert_array_equal(out.valid, ~loud.any(axis=1))


def test_a_channel_that_is_not_finite_is_bad_and_held() -> None:
    x = quiet()
    x[100:150, 1] = np.nan
    x[200, 2] = np.inf
    out, findings = mark(
        stage(gradient=GradientLimit(limit=1e3), onset_s=0.1, recover_s=0.2, max_bad_channels=1),
        x,
        np.asarray(np.isfinite(x).all(axis=1)),
    )
    assert told(findings) == [("nonfinite", ["c1"], 109, 149, 169, False)]
    assert flagged(out) == [*range(100, 150), 200]
    np.testing.assert_array_equal(out.data[100:150, 1], np.full(50, x[99, 1]))
    assert out.data[200, 2] == x[199, 2]


def test_returning_from_a_dropout_is_no_step_and_no_muscle() -> None:
    x = quiet() + 1000.0
    x[100:150, 1] = np.nan
    x[150:, 1] += 500.0
    made = stage(gradient=GradientLimit(limit=100), muscle=MuscleLimit(limit=10), onset_s=1.0, recover_s=0.2)
    _, findings = mark(made, x, np.asarray(np.isfinite(x).all(axis=1)))
    assert findings == []


def test_missing_rows_teach_nothing() -> None:
    x = quiet()
    x[200:290] = x[199]  # held over a gap
    x[290:] += 300.0
    valid = np.ones(N_ROWS, np.bool_)
    valid[200:290] = False
    made = stage(
        gradient=GradientLimit(limit=100),
        flat=FlatLimit(limit=0.1, flat_s=0.5),
        rail=RailLimit(repeats=5),
        onset_s=0.02,
    )
    out, findings = mark(made, x, valid)
    assert findings == []
    assert flagged(out) == list(range(200, 290))


def test_rows_are_flagged_where_more_channels_are_bad_than_allowed() -> None:
    x = quiet()
    x[100:200, 0] = 500.0
    x[150:250, 1] = 500.0
    out, findings = mark(stage(rail=RailLimit(high=400), onset_s=0, recover_s=0.1, max_bad_channels=1), x)
    assert flagged(out) == list(range(150, 209))
    # one episode: a channel was bad all the time
    assert told(findings) == [("rail", ["c0", "c1"], 100, 249, 259, False)]


@pytest.mark.parametrize(("mode", "stands_in"), [("hold", None), ("zero", 0.0)])
def test_a_bad_channel_may_be_held_or_silenced(mode: Any, stands_in: float | None) -> None:
    x = quiet()
    x[100:110, 0] = 500.0
    made = stage(rail=RailLimit(high=400), onset_s=0, recover_s=0.1, bad_channels=mode)
    out = made.process(naive.as_chunk(x, INFO))
    expected = x.copy()
    expected[100:119, 0] = x[99, 0] if stands_in is None else stands_in
    np.testing.assert_array_equal(out.data, expected)


def test_only_the_chosen_channels_are_watched() -> None:
    x = quiet()
    x[100:110] = 500.0
    _, findings = mark(stage(rail=RailLimit(high=400), onset_s=0, channels=("c2",)), x)
    assert [one.values["channels"] for one in findings] == [["c2"]]
    eog = Artifacts(ArtifactSettings(kind="artifacts", rail=RailLimit(high=400), types=("EOG",)), naive.EXAMPLE_INFO)
    assert eog.plan_arrays()["watched"].astype(bool).tolist() == [False, False, False, True]


def test_the_bad_channels_can_be_asked_for() -> None:
    made = stage(rail=RailLimit(high=400), amplitude=AmplitudeLimit(limit=100), onset_s=0)
    x = quiet(100)
    made.process(naive.as_chunk(x, INFO))
    assert made.bad == {}
    x[:, 1] = 500.0
    made.process(naive.as_chunk(x, INFO, 100))
    assert made.bad == {"c1": ("amplitude", "rail")}


def test_findings_are_those_of_the_last_chunk() -> None:
    x = quiet()
    x[100, 0] = 500.0
    made = stage(amplitude=AmplitudeLimit(limit=100), recover_s=0.1)
    made.process(naive.as_chunk(x[:300], INFO))
    assert len(made.take_findings()) == 1
    made.process(naive.as_chunk(x[300:], INFO, 300))
    assert len(made.take_findings()) == 0


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=12).map(sorted), seed=st.integers(0, 2**32 - 1))
def test_findings_do_not_depend_on_chunking(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N_ROWS, 3)) * 10.0
    x[rng.integers(0, N_ROWS, 6), rng.integers(0, 3, 6)] = [500, -500, np.nan, np.inf, 100, -100]

    def run(edges: list[int]) -> list[Finding]:
        made = stage(
            amplitude=AmplitudeLimit(limit=30),
            gradient=GradientLimit(limit=25),
            muscle=MuscleLimit(limit=8, average_s=0.05),
            onset_s=0.01,
            recover_s=0.02,
        )
        found: list[Finding] = []
        for a, b in zip([0, *edges], [*edges, N_ROWS], strict=True):
            made.process(naive.as_chunk(x, INFO).slice(a, b))
            found += made.take_findings() if b > a else []
        return found + made.open_findings()

    whole = run([])
    assert len(whole) > 3
    assert run(cuts) == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "at least one of amplitude, gradient, flat, rail and muscle must be given"),
        ({"rail": {}}, "at least one of low, high and repeats must be given"),
        ({"rail": {"low": 2, "high": 1}}, r"low must be below high=1.0, got 2.0"),
        ({"flat": {"limit": 0}}, "greater than 0"),
        ({"flat": {"limit": 1}, "onset_s": 1.5}, r"onset_s must be at most 1, got 1.5"),
        ({"flat": {"limit": 1}, "channels": ["a"], "types": ["EEG"]}, "at most one of channels and types"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArtifactSettings.model_validate({"kind": "artifacts", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"muscle": {"limit": 1, "low_hz": 50}}, r"muscle.low_hz must be below 45.0, got 50.0"),
        ({"muscle": {"limit": 1, "high_hz": 48}}, r"muscle.high_hz must be at most 0.45 sfreq=45.0, got 48.0"),
        ({"flat": {"limit": 1}, "types": ["EMG"]}, r"types.0 must be a channel type of the stream \(EEG\), got 'EMG'"),
        ({"flat": {"limit": 1}, "channels": ["x"]}, r"channels.0 must be a channel of the stream .*, got 'x'"),
        ({"flat": {"limit": 1}, "channels": []}, "channels must name at least one channel, got none"),
    ],
)
def test_settings_that_do_not_fit_the_stream_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Artifacts(ArtifactSettings.model_validate({"kind": "artifacts", **options}), INFO)


def test_muscle_is_left_out_where_the_rate_does_not_allow_it() -> None:
    made = stage(rail=RailLimit(high=1), muscle=MuscleLimit(limit=1, low_hz=60, when="sfreq > 2.5 * f0"))
    assert made.left_out == ("muscle from 60 Hz: sfreq=100 fails sfreq > 2.5 * f0",)
    assert made.plan_arrays()["sos"].shape == (0, 8)
