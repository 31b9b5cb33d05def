"""Quantiles, autocorrelation times and robust scales against scipy, theory and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats

from neuroloop.processors.drift.autocorrelation import correlate
from neuroloop.processors.drift.collecting import lag_one, median, robust_scale
from neuroloop.processors.drift.quantiles import NORMAL, cusum_limit, log_gamma, student_quantile, student_tail


@pytest.mark.parametrize("dof", [1.0, 3.0, 7.0, 35.1, 400.0])
@pytest.mark.parametrize("tail", [0.5, 0.2, 1e-2, 4.5e-8, 1e-12])
def test_student_quantiles_equal_scipy(tail: float, dof: float) -> None:
    assert student_quantile(tail, dof) == pytest.approx(stats.t.isf(tail, dof), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("tail", [0.025, 5.8e-6, 9e-8])
def test_many_degrees_of_freedom_are_the_normal_quantile(tail: float) -> None:
    assert student_quantile(tail, NORMAL) == pytest.approx(stats.norm.isf(tail), rel=2e-5)


def test_the_gamma_function_equals_scipy() -> None:
    from scipy.special import gammaln

    for x in (0.5, 1.0, 3.3, 50.0, 1e6):
        assert log_gamma(x) == pytest.approx(gammaln(x), rel=1e-13, abs=1e-13)
    assert student_tail(0.0, 5.0) == 0.5


@pytest.mark.parametrize(("tail", "dof"), [(0.0, 5.0), (0.7, 5.0), (0.1, 0.5)])
def test_impossible_tails_are_refused(tail: float, dof: float) -> None:
    with pytest.raises(ValueError, match=r"(tail must be in \(0, 0\.5\]|dof must be at least 1), got"):
        student_quantile(tail, dof)


def test_the_cusum_limit_agrees_with_tabulated_run_lengths() -> None:
    # two-sided, reference 0.5: h = 4.77 has a mean run length of 370 (Montgomery, Introduction to SQC, table 9.3)
    assert cusum_limit(0.5, 2 * 370.0) == pytest.approx(4.77, abs=0.02)


@pytest.mark.parametrize("a", [0.0, 0.5, 0.8, 0.95])
def test_the_autocorrelation_time_of_a_first_order_process_is_found(a: float) -> None:
    noise = np.random.default_rng(5).standard_normal((8 * 1024, 16))
    x = signal.lfilter([1.0], [1.0, -a], noise, axis=0).reshape(8, 1024, 16)
    found = correlate(np.ascontiguousarray(x))
    assert np.median(found.tau_mean) == pytest.approx((1 + a) / (1 - a), rel=0.15)
    assert np.median(found.tau_square) == pytest.approx((1 + a * a) / (1 - a * a), rel=0.15)
    assert np.median(found.kurtosis) == pytest.approx(3.0, rel=0.1)


def test_missing_rows_do_not_spoil_the_autocorrelation() -> None:
    noise = np.random.default_rng(6).standard_normal((8 * 1024, 8))
    x = signal.lfilter([1.0], [1.0, -0.8], noise, axis=0).reshape(8, 1024, 8)
    x[:, 500:560] = np.nan
    assert np.median(correlate(np.ascontiguousarray(x)).tau_mean) == pytest.approx(9.0, rel=0.2)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_channel_that_never_moves_counts_every_row(value: float) -> None:
    found = correlate(np.full((8, 64, 1), value))
    assert (found.tau_mean[0], found.tau_square[0], found.kurtosis[0]) == (1.0, 1.0, 3.0)


def test_medians_leave_nan_out_and_equal_numpy() -> None:
    x = np.random.default_rng(7).standard_normal((41, 5))
    x[np.random.default_rng(8).random((41, 5)) < 0.3] = np.nan
    x[:, 4] = np.nan
    np.testing.assert_array_equal(median(x)[:4], np.nanmedian(x[:, :4], axis=0))
    assert median(x)[4] == 0.0


def test_the_scale_is_the_standard_deviation_and_odd_windows_do_not_move_it() -> None:
    x = np.random.default_rng(9).standard_normal((400, 50)) * 3.0
    centre = median(x)
    assert robust_scale(x, centre).mean() == pytest.approx(3.0, rel=0.02)
    spoiled = x.copy()
    spoiled[:12] = 500.0
    assert robust_scale(spoiled, median(spoiled)).mean() == pytest.approx(3.0, rel=0.05)


def test_neighbouring_windows_correlation_is_found_without_bias() -> None:
    x = signal.lfilter([1.0], [1.0, -0.6], np.random.default_rng(10).standard_normal((140, 400)), axis=0)[100:]
    assert lag_one(x, median(x)).mean() == pytest.approx(0.6, abs=0.07)
