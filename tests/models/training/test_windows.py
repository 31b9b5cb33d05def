from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroloop.config.errors import RecordingError
from neuroloop.config.stages import (
    BandPowerSettings,
    LogVarianceSettings,
    StageSettings,
    WindowSettings,
    ZScoreSettings,
)
from neuroloop.config.training import TrainSettings
from neuroloop.models.datasets.epileptic import INFO
from neuroloop.models.training.streams import LabelledStream, cut_windows, plain_chunk
from neuroloop.models.training.windows import GainRule, Standardiser, TrainingWindows
from tests.models.datasets.epileptic_files import build_stages

BANDS = {"low": (1.0, 20.0), "high": (20.0, 60.0)}
PAIRS = (WindowSettings(kind="window", window_samples=2, hop_samples=2),)


def separate(x: NDArray[np.floating], labels: NDArray[np.int64], groups: NDArray[np.int64]) -> TrainingWindows:
    """Wrap separate windows of shape (n_windows, n_rows, n_features); they cannot be shifted."""
    n_windows, n_rows, n_features = x.shape
    starts = np.arange(n_windows, dtype=np.int64) * n_rows
    rows = np.ascontiguousarray(x.reshape(-1, n_features), dtype=np.float32)
    return TrainingWindows(rows, starts, starts, starts, labels, groups, n_rows)


def stream(labels: list[int], *, group: int = 0, number: int = 1) -> LabelledStream:
    data = np.arange(len(labels), dtype=np.float64).reshape(-1, 1)
    return LabelledStream(plain_chunk(data, INFO), np.array(labels, np.int64), number, group)


def test_windows_stand_at_multiples_of_the_hop_and_know_their_last_sample() -> None:
    made = cut_windows([stream([0] * 20)], PAIRS, window_samples=3, hop_samples=4, build_stages=build_stages)
    assert made.windows.starts.tolist() == [0, 4]
    assert made.ends.tolist() == [5, 13]
    x = made.windows.take(np.array([1]))
    np.testing.assert_array_equal(x, [[[8, 9], [10, 11], [12, 13]]])
    assert x.dtype == np.float32


def test_a_window_over_two_labels_is_left_out() -> None:
    labels = [0] * 7 + [1] * 9
    made = cut_windows([stream(labels)], PAIRS, window_samples=2, hop_samples=1, build_stages=build_stages)
    for start, label in zip(made.windows.starts, made.windows.labels, strict=True):
        assert set(labels[2 * start : 2 * start + 4]) == {label}
    assert made.windows.starts.tolist() == [0, 1, 4, 5, 6]


def test_unlabelled_samples_make_no_window() -> None:
    made = cut_windows([stream([-1] * 6 + [1] * 6)], PAIRS, window_samples=1, hop_samples=1, build_stages=build_stages)
    assert made.windows.labels.tolist() == [1, 1, 1]
    with pytest.raises(RecordingError, match=r"data must hold a labelled window of 9 feature rows, got none"):
        cut_windows([stream([0] * 6)], PAIRS, window_samples=9, hop_samples=1, build_stages=build_stages)


def test_a_shifted_window_stays_within_its_label_and_its_stream() -> None:
    streams = [stream([0] * 10 + [1] * 30, group=4), stream([1] * 24, group=7, number=2)]
    made = cut_windows(streams, PAIRS, window_samples=2, hop_samples=3, build_stages=build_stages)
    windows = made.windows
    assert made.numbers.tolist() == [{4: 1, 7: 2}[int(group)] for group in windows.groups]
    rng = np.random.default_rng(3)
    everywhere = set()
    for _ in range(40):
        x = windows.take(np.arange(len(windows)), rng)
        for row, label, group in zip(x, windows.labels, windows.groups, strict=True):
            first, last = int(row[0, 0]), int(row[-1, -1])
            assert last - first == 3
            if group == 4:
                assert (last < 10) if label == 0 else (first >= 10)
            everywhere.add((int(group), first))
    assert {first for group, first in everywhere if group == 7} == set(range(0, 22, 2))


def test_separate_arrays_become_windows_that_cannot_shift() -> None:
    x = np.random.default_rng(1).standard_normal((5, 4, 3))
    windows = separate(x, np.array([0, 1, 0, 1, 0]), np.arange(5))
    np.testing.assert_array_equal(windows.take(np.arange(5), np.random.default_rng(2)), x.astype(np.float32))


def test_mean_and_deviation_come_from_the_chosen_windows_only() -> None:
    x = np.random.default_rng(1).standard_normal((6, 4, 2)) + np.arange(6)[:, None, None]
    windows = separate(x, np.zeros(6, np.int64), np.arange(6))
    chosen = np.array([True, False, True, False, False, False])
    fitted = Standardiser.fit(windows, chosen, GainRule(1, 0))
    rows = x[chosen].reshape(-1, 2).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(fitted.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.std, rows.std(axis=0), rtol=1e-12)
    changed = x.copy()
    changed[~chosen] += 1e6
    again = Standardiser.fit(separate(changed, np.zeros(6, np.int64), np.arange(6)), chosen, GainRule(1, 0))
    np.testing.assert_array_equal(again.mean, fitted.mean)
    np.testing.assert_array_equal(again.std, fitted.std)


def test_a_constant_feature_is_only_centred() -> None:
    windows = separate(np.full((3, 2, 1), 7.0), np.zeros(3, np.int64), np.arange(3))
    fitted = Standardiser.fit(windows, np.ones(3, np.bool_), GainRule(1, 0))
    np.testing.assert_array_equal(fitted.apply(windows.take(np.arange(3))), 0.0)


@pytest.mark.parametrize(
    "stages",
    [
        (WindowSettings(kind="window", window_samples=8, hop_samples=4),),
        (BandPowerSettings(kind="bandpower", window_samples=40, hop_samples=20, bands=BANDS),),
        (BandPowerSettings(kind="bandpower", window_samples=40, hop_samples=20, bands=BANDS, log=True),),
        (LogVarianceSettings(kind="logvar", window_samples=20, hop_samples=10),),
        (ZScoreSettings(kind="zscore", mean=(0.0,), std=(3.0,)),),
    ],
)
def test_a_gain_on_features_is_that_gain_on_the_signal(stages: tuple[StageSettings, ...]) -> None:
    signal = 50.0 * np.random.default_rng(4).standard_normal((200, 1))
    labels = np.zeros(200, np.int64)
    rule, gain = GainRule.of(stages), 1.17
    made = [
        cut_windows(
            [LabelledStream(plain_chunk(data, INFO), labels, 1, 0)],
            stages,
            window_samples=4,
            hop_samples=4,
            build_stages=build_stages,
        ).windows
        for data in (signal, gain * signal)
    ]
    fitted = Standardiser.fit(made[0], np.ones(len(made[0]), np.bool_), rule)
    every = np.arange(len(made[0]))
    scaled = fitted.apply(made[0].take(every), np.full(len(every), gain))
    np.testing.assert_allclose(scaled, fitted.apply(made[1].take(every)), atol=2e-5)


def test_the_rows_of_a_recording_are_the_windows_of_its_stream_bit_for_bit() -> None:
    settings = TrainSettings.model_validate({"recipe": "seizure"})
    signal = np.round(60 * np.random.default_rng(8).standard_normal((4097, 1)))
    labels = np.zeros(4097, np.int64)
    made = cut_windows(
        [LabelledStream(plain_chunk(signal, INFO), labels, 1, 0)],
        settings.stages,
        window_samples=settings.window_samples,
        hop_samples=settings.hop_samples,
        build_stages=build_stages,
    )
    assert made.ends.tolist() == [178 * k + 177 for k in range(23)]
    for k in range(23):
        row = signal[178 * k : 178 * (k + 1)]
        alone = cut_windows(
            [LabelledStream(plain_chunk(row, INFO), labels[:178], 1, 0)],
            settings.stages,
            window_samples=settings.window_samples,
            hop_samples=settings.hop_samples,
            build_stages=build_stages,
        )
        np.testing.assert_array_equal(alone.windows.take(np.array([0])), made.windows.take(np.array([k])))
