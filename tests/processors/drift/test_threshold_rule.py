"""The fixed-threshold rule, exactly: its definition, its switch near zero and its known cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuroloop.processors.drift import baseline as fields
from neuroloop.processors.drift.baseline import Baseline
from neuroloop.processors.drift.judge import Judge
from tests.processors.drift.streams import monitor

CAP = 1e6


def judge(mean: float, std: float, **changes: Any) -> Judge:
    """Judge windows against a baseline of one channel with this mean and standard deviation."""
    made = monitor(1, rule="threshold", **changes)
    table = np.zeros((len(fields.FIELDS), 1))
    table[fields.MEAN], table[fields.STD], table[fields.COUNT] = mean, std, 2400.0
    return Judge(made.settings, Baseline(made.made_for, 24, table, np.zeros((2, 3))), np.zeros(1))


def score(one: Judge, mean: float, std: float) -> float:
    window = np.array([[100.0], [mean], [std], [0.0]])
    assert one.score(window, 0)
    return one.channel_score


def naive(mu0: float, sd0: float, mu: float, sd: float, units: str) -> float:
    """Write the definition down once more, slowly."""
    if units == "baseline":
        mu0, mu, sd0, sd = 0.0, (mu - mu0) / sd0, 1.0, sd / sd0
    d_mean = abs(mu - mu0) / 0.5 if abs(mu0) < 0.5 else abs(mu - mu0) / (abs(mu0) * 0.2)
    d_std = abs(sd - sd0) / (sd0 * 0.2)
    return min(max(d_mean, d_std), CAP)


@pytest.mark.parametrize("units", ["raw", "baseline"])
@pytest.mark.parametrize("mu0", [-700.0, -0.51, -0.49, 0.0, 0.49, 0.5, 0.51, 5.0, 1e9])
def test_the_score_follows_the_definition(mu0: float, units: str) -> None:
    rng = np.random.default_rng(1)
    for sd0 in (0.01, 1.0, 30.0):
        one = judge(mu0, sd0, units=units)
        for _ in range(10):
            mu, sd = mu0 + sd0 * rng.normal(), sd0 * rng.uniform(0.0, 3.0)
            assert score(one, mu, sd) == pytest.approx(naive(mu0, sd0, mu, sd, units), rel=1e-9)


@pytest.mark.parametrize(
    ("baseline", "present", "is_drift"),
    [
        ((5.0, 1.0), (5.0, 1.0), False),
        ((5.0, 1.0), (7.0, 1.0), True),
        ((0.0, 1.0), (0.3, 1.0), False),
        ((0.0, 1.0), (0.8, 1.0), True),
        ((5.0, 1.0), (5.0, 1.5), True),
    ],
)
def test_the_known_cases(baseline: tuple[float, float], present: tuple[float, float], is_drift: bool) -> None:
    rng = np.random.default_rng(2)
    one = judge(*baseline, units="raw")
    sample = rng.normal(*present, 20_000)
    assert (score(one, float(sample.mean()), float(sample.std())) > 1.0) is is_drift


def test_a_shift_of_two_at_a_mean_of_five_is_twice_the_threshold() -> None:
    assert score(judge(5.0, 1.0, units="raw"), 7.0, 1.0) == pytest.approx(2.0)


def test_the_switch_near_zero_is_on_the_baseline_mean_and_jumps() -> None:
    assert score(judge(0.49, 1.0, units="raw"), 0.49 + 0.2, 1.0) == pytest.approx(0.4)
    assert score(judge(0.5, 1.0, units="raw"), 0.5 + 0.2, 1.0) == pytest.approx(2.0)
    assert score(judge(0.51, 1.0, units="raw"), 0.51 + 0.2, 1.0) == pytest.approx(0.2 / 0.102)


def test_the_threshold_itself_is_no_drift() -> None:
    assert score(judge(0.0, 1.0, units="raw"), 0.5, 1.0) == 1.0  # an alarm needs more than 1


def test_standard_deviations_of_the_baseline_are_the_unit_unless_told_otherwise() -> None:
    assert score(judge(500.0, 100.0), 530.0, 100.0) == pytest.approx(0.6)


def test_a_channel_that_never_moved_scores_nothing_or_the_cap() -> None:
    for units in ("raw", "baseline"):
        one = judge(3.0, 0.0, units=units)
        assert score(one, 3.0, 0.0) == 0.0
        assert score(one, 3.0, 0.1) == CAP
    assert score(judge(3.0, 0.0), 3.1, 0.0) == CAP


def test_thresholds_are_settings() -> None:
    one = judge(0.2, 1.0, units="raw", zero_threshold=0.1, mean_threshold_rel=0.5, std_threshold=0.4)
    assert score(one, 0.3, 1.0) == pytest.approx(1.0)
    assert score(one, 0.2, 1.2) == pytest.approx(0.5)
    assert score(judge(0.2, 1.0, units="raw", mean_threshold_abs=2.0), 1.2, 1.0) == pytest.approx(0.5)


def test_a_window_that_is_not_four_fifths_full_has_no_score() -> None:
    one = judge(0.0, 1.0)
    one.score(np.array([[79.0], [9.0], [1.0], [0.0]]), 0)
    assert np.isnan(one.channel_score)
    one.score(np.array([[80.0], [9.0], [1.0], [0.0]]), 0)
    assert one.channel_score == pytest.approx(18.0)
