"""The monitor as a whole: baseline, alarms, hysteresis, arms, gaps, calibration, any cutting, resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from neuroloop.config.errors import ConfigError
from neuroloop.processors.drift.baseline import BaselineError
from neuroloop.processors.drift.episodes import EpisodeTracker
from neuroloop.processors.drift.monitor import DriftMonitor
from tests.processors.drift.streams import MINUTES, SFREQ, feed, info, monitor, noise, settings, what

BASE_S = MINUTES * 60.0
RULES = ("threshold", "analytic", "empirical", "ewma", "cusum")


def drifting(seed: int = 1, n_channels: int = 2) -> np.ndarray:
    """Return baseline, quiet, one channel three times as strong, quiet again."""
    x = noise(seed, BASE_S + 240.0, n_channels)
    at = round((BASE_S + 60.0) * SFREQ)
    x[at : at + round(60 * SFREQ), 1] *= 3.0
    return x


@pytest.mark.parametrize("rule", RULES)
def test_a_stronger_channel_is_one_episode_of_onset_and_end(rule: str) -> None:
    findings = feed(monitor(rule=rule), drifting())
    assert what(findings) == ["baseline", "onset channels", "end channels"]
    _, onset, end = findings
    assert onset.values["channels"][0] == "E1"
    assert onset.values["statistic"] == "std"
    assert onset.values["scores"][0] > 1.0
    assert BASE_S + 60.0 < onset.time < BASE_S + 60.0 + 25.0
    assert end.time > BASE_S + 120.0
    assert end.values["duration_s"] == pytest.approx(end.time - onset.time)
    assert end.values["score"] >= onset.values["score"]
    assert onset.first_row < onset.row
    assert end.first_row == onset.row


def test_nothing_is_scored_before_the_baseline_is_frozen() -> None:
    made = monitor()
    feed(made, noise(1, BASE_S - 1.0))
    assert np.isnan(made.score)
    assert made.baseline is None
    feed(made, noise(2, 20.0), first=round((BASE_S - 1.0) * SFREQ))
    assert made.score > 0.0
    assert made.is_armed


def test_too_short_a_baseline_scores_and_does_not_arm_and_says_why() -> None:
    made = monitor(baseline={"minutes": 1.0})
    findings = feed(made, np.concatenate([noise(1, 60.0), 50.0 * noise(2, 120.0)]))
    assert what(findings) == ["baseline"]
    assert findings[0].values["armed"] is False
    assert findings[0].values["why"] == "baseline must have at least 20 windows, got 12"
    assert made.score > 1.0
    assert not made.is_alarm


def test_a_lost_reference_is_said_once_and_by_the_common_arm() -> None:
    x = noise(3, BASE_S + 120.0, 8)
    at = round((BASE_S + 60.0) * SFREQ)
    x[at:] += 40.0 * np.sin(2.0 * np.pi * 5.2 * np.arange(len(x) - at) / SFREQ)[:, None]  # hum
    findings = feed(monitor(8), x)
    assert what(findings) == ["baseline", "onset common"]
    assert findings[1].values["statistic"] == "std"


def test_one_bad_electrode_is_not_common() -> None:
    x = noise(3, BASE_S + 120.0, 8)
    x[round((BASE_S + 60.0) * SFREQ) :, 5] += 30.0
    findings = feed(monitor(8), x)
    assert what(findings) == ["baseline", "onset channels"]
    assert findings[1].values["channels"] == ["E5"]
    assert findings[1].values["statistic"] == "mean"


@pytest.mark.parametrize(("effect", "hold"), [("flag", False), ("hold", True), ("recalibrate", False)])
def test_the_effect_is_in_the_event(effect: str, hold: bool) -> None:
    _, onset, end = feed(monitor(effect=effect), drifting())
    assert (onset.values["effect"], onset.values["hold"]) == (effect, hold)
    assert (end.values["effect"], end.values["hold"]) == (effect, False)


def test_the_end_of_the_stream_closes_an_alarm() -> None:
    made = monitor()
    x = drifting()[: round((BASE_S + 100.0) * SFREQ)]
    assert what(feed(made, x)) == ["baseline", "onset channels"]
    (end,) = made.open_findings()
    assert (end.values["what"], end.values["why"], end.row) == ("end", "stream over", len(x) - 1)
    assert end.time == pytest.approx((len(x) - 1) / SFREQ)


def test_an_alarm_lives_through_a_gap_and_the_window_does_not() -> None:
    made = monitor()
    x = drifting()
    feed(made, x[: round((BASE_S + 100.0) * SFREQ)])
    made.reset()
    assert made.is_alarm
    assert np.isnan(made.score)
    after = feed(made, noise(9, 3.0), first=100_000)
    assert not after
    assert np.isnan(made.score)
    after = feed(made, noise(10, 60.0), first=100_000 + 60)
    assert what(after) == ["end channels"]
    assert made.baseline is not None


def test_flagged_rows_do_not_drift() -> None:
    x = drifting()
    valid = np.ones(len(x), np.bool_)
    at = round((BASE_S + 60.0) * SFREQ)
    valid[at : at + round(60 * SFREQ)] = False
    assert what(feed(monitor(), x, valid=valid)) == ["baseline"]


def test_a_dead_channel_is_left_out_and_the_others_are_watched() -> None:
    x = drifting(n_channels=3)
    x[:, 0] = np.nan
    made = monitor(3)
    assert what(feed(made, x)) == ["baseline", "onset channels", "end channels"]
    assert np.isnan(made.parts[:, 0]).all()


def test_a_stream_that_is_bad_throughout_the_baseline_begins_another_one() -> None:
    made = monitor()
    x = np.concatenate([np.full((round(BASE_S * SFREQ), 2), np.nan), noise(1, BASE_S + 10.0)])
    for cuts in (None, [], [3, 2500]):
        made = monitor()
        (told,) = feed(made, x, cuts=cuts)
        assert told.time == pytest.approx(2 * BASE_S - 1 / SFREQ)


def test_a_new_baseline_comes_on_command_only_and_ends_the_alarm() -> None:
    made = monitor()
    x = noise(1, BASE_S + 600.0) + np.r_[np.zeros(round(BASE_S * SFREQ)), np.full(round(600 * SFREQ), 4.0)][:, None]
    cut = round((BASE_S + 300.0) * SFREQ)
    assert what(feed(made, x[:cut])) == ["baseline", "onset channels"]
    old = made.baseline
    made.rebaseline()
    after = feed(made, x[cut:], first=cut)
    assert what(after) == ["rebaseline", "end channels", "baseline"]
    assert after[1].values["why"] == "rebaselined"
    assert old is not None
    assert after[2].values["baseline"] not in (None, old.id)
    assert not made.is_alarm
    assert made.score < 1.0


@pytest.mark.parametrize("rule", RULES)
def test_findings_do_not_depend_on_chunking(rule: str) -> None:
    x = drifting()
    x[np.random.default_rng(5).random(x.shape) < 0.02] = np.nan
    expected = feed(monitor(rule=rule), x, cuts=[])
    assert len(expected) == 3
    for cuts in (range(1, len(x)), [7, 7, 2400, 2401, 5000], np.random.default_rng(6).integers(0, len(x), 40).tolist()):
        assert feed(monitor(rule=rule), x, cuts=list(cuts)) == expected


@hypothesis_settings(max_examples=12, deadline=None)
@given(stop=st.integers(0, 6000), rule=st.sampled_from(RULES))
def test_going_on_from_a_state_equals_never_having_stopped(stop: int, rule: str) -> None:
    x = drifting()
    expected = feed(monitor(rule=rule), x)
    first, second = monitor(rule=rule), monitor(rule=rule)
    before = feed(first, x[:stop])
    feed(second, noise(8, BASE_S + 20.0))  # something to forget
    second.set_state(first.get_state())
    assert before + feed(second, x[stop:], first=stop) == expected
    assert np.array_equal(second.score, first.score, equal_nan=True) or stop < len(x)


def test_a_state_of_another_monitor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"state\['sums'\] must be float64 of shape \(6, 2\), got"):
        monitor(2).set_state(monitor(3).get_state())


@pytest.mark.parametrize("seed", [11, 12])
def test_stationary_autocorrelated_data_gives_no_alarm(seed: int) -> None:
    # 8 channels for 6 hours, where the plain threshold rule over 1 s alarms hundreds of times an hour
    x = noise(seed, 6 * 3600.0, 8, a=0.8)
    calibrated = monitor(8, baseline={"minutes": 5.0})
    assert what(feed(calibrated, x, cuts=range(5000, len(x), 5000))) == ["baseline"]
    plain = monitor(1, rule="threshold", window_s=1.0, confirm_windows=1, leave=1.0)
    hour = np.ascontiguousarray(x[: round((BASE_S + 3600.0) * SFREQ), :1])
    assert what(feed(plain, hour, cuts=range(5000, len(hour), 5000))).count("onset channels") > 300


def test_a_baseline_of_other_columns_or_grid_is_refused() -> None:
    made = monitor()
    feed(made, noise(1, BASE_S + 10.0))
    with pytest.raises(BaselineError, match=r"columns E0, E1 in place of E0, E1, E2; units uV, uV in place of"):
        DriftMonitor(settings(), info(3), made.baseline)
    with pytest.raises(BaselineError, match=r"with window 100 in place of 200"):
        DriftMonitor(settings(window_s=10.0, hop_s=1.25), info(2), made.baseline)
    with pytest.raises(BaselineError, match=r"rate 20\.0 Hz in place of 20\.1 Hz"):
        DriftMonitor(settings(), info(2, 20.1), made.baseline)


def test_a_given_baseline_is_named_at_the_first_row_and_used() -> None:
    made = monitor()
    feed(made, noise(1, BASE_S + 10.0))
    assert made.baseline is not None
    second = DriftMonitor(settings(), info(2), made.baseline)
    findings = feed(second, noise(2, 120.0) * [1.0, 4.0], first=5)
    assert what(findings) == ["baseline", "onset channels"]
    assert (findings[0].row, findings[0].values["baseline"]) == (5, made.baseline.id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_s": 0.01}, r"hop_s must be at least one row at 20 rows/s, got 0\.01"),
        ({"baseline": {"minutes": 0.05}}, r"baseline\.minutes must hold at least one window of 5 s, got 0\.05"),
    ],
)
def test_an_impossible_grid_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        monitor(**changes)


def test_a_tap_of_thousands_of_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tap must have at most 2048 columns to be watched, got 3000"):
        monitor(3000)


def test_an_episode_needs_windows_without_overlap_on_both_ways() -> None:
    tracker = EpisodeTracker(leave=0.7, n_confirm=2, n_blocks=4)
    said = [tracker.step(block, 1.5) for block in range(6)]
    assert said == [None, None, None, None, "onset", None]
    assert (tracker.first_block, tracker.onset_block) == (0, 4)
    said = [tracker.step(6 + i, s) for i, s in enumerate([0.8, 0.6, 0.6, 0.6, 0.75, 0.6, 0.6, 0.6, 0.6, 0.6])]
    assert said == [None] * 9 + ["end"]
    assert tracker.peak == 1.5


def test_a_missing_score_or_one_at_the_threshold_breaks_what_was_about_to_begin() -> None:
    for breaking in (float("nan"), 1.0):
        tracker = EpisodeTracker(leave=0.7, n_confirm=2, n_blocks=2)
        assert [tracker.step(b, s) for b, s in enumerate([2.0, breaking, 2.0, 2.0])] == [None] * 4
        assert tracker.step(4, 2.0) == "onset"


@pytest.mark.parametrize("rule", ["adwin", "page_hinkley"])
def test_river_detectors_are_an_option_that_resumes(rule: str) -> None:
    pytest.importorskip("river")
    x = np.concatenate([noise(1, BASE_S + 600.0), 6.0 + noise(2, 900.0)])
    expected = feed(monitor(rule=rule), x)
    assert "onset channels" in what(expected)
    assert expected[1].time > BASE_S + 600.0
    first, second = monitor(rule=rule), monitor(rule=rule)
    cut = round((BASE_S + 500.0) * SFREQ)
    before = feed(first, x[:cut])
    second.set_state(first.get_state())
    assert before + feed(second, x[cut:], first=cut) == expected


def test_a_missing_river_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(ConfigError, match=r"unless river is installed \(pip install 'neuroloop\[drift\]'\)"):
        monitor(rule="adwin")
