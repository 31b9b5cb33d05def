"""From a baseline and a rule to what each channel's window is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.processors.drift import baseline as fields
from neuroloop.processors.drift.baseline import Baseline
from neuroloop.processors.drift.quantiles import NORMAL, cusum_limit, student_quantile
from neuroloop.processors.numerics.elementary import TINY, log
from neuroloop.stream.contracts.chunks import FloatArray

MIN_BLOCKS = 20
"""Fewer baseline windows do not arm a rule that learns its thresholds from them."""
CAP = 1e6
EWMA_WEIGHT = 0.2
MEAN_CENTRE, MEAN_LIMIT, MEAN_WEIGHT, MEAN_TOLERANCE, SPREAD_CENTRE, SPREAD_LIMIT, SPREAD_WEIGHT, SPREAD_TOLERANCE = (
    range(8)
)
_TINY_SHARE = 1e-12
_SECONDS_PER_DAY = 86400.0
_CENTRE_VARIANCE = 1.5707963267948966
"""Variance of the median of ``n`` unit normals, times ``n``."""
_SHARE_FLOOR = 0.05
"""Model signals are shares: a shift of less than five points is never an alarm."""
_INFINITE = 1e300


@dataclass(frozen=True)
class Limits:
    """Thresholds per channel.

    Parameters
    ----------
    table : array, shape (8, n_channels)
        For the mean, then for the spread: centre, limit (1 of the score), weight of the common arm, tolerance where the
        limit is 0. Means are relative to the baseline's.
    use_log : bool
        Whether the spread is the logarithm of the standard deviation.
    common : array, shape (2, 2)
        Centre and limit of the median over the channels of weighted distances.
    armed : bool
        Whether an alarm may begin.
    why : str
        Why not.
    """

    table: FloatArray
    use_log: bool
    common: FloatArray
    armed: bool
    why: str = ""


@dataclass(frozen=True)
class SequentialLimits:
    """Limit and CUSUM reference in unit values; arrays of shape (2, n_channels + 1), the last column the common arm."""

    limit: FloatArray
    reference: FloatArray


def tail_of(settings: DriftMonitorSettings, *, n_units: int, n_arms: int, checks_per_s: float) -> float:
    """Return the probability that one side of one statistic may exceed its limit at one check.

    The allowance of a day is shared equally by all checks, columns, statistics and sides (Bonferroni).
    """
    per_day = settings.false_alarms_per_day if settings.false_alarms_per_day is not None else 1.0
    share = per_day / (_SECONDS_PER_DAY * checks_per_s * n_units * n_arms)
    return min(0.5 * share, 0.05)


def make_limits(settings: DriftMonitorSettings, baseline: Baseline, *, tail: float) -> Limits:
    """Compute the limits of one of the rules that look at a single window, or unit scales for the sequential ones."""
    if settings.rule == "threshold":
        return _threshold(settings, baseline)
    if settings.rule == "analytic":
        return _analytic(settings, baseline, student_quantile(tail, NORMAL))
    sequential = settings.is_sequential
    return _empirical(settings, baseline, None if sequential else student_quantile(tail, _dof(baseline)))


def _dof(baseline: Baseline) -> float:
    """Return the degrees of freedom of a scale from this many windows; at least 3, to have a figure at all."""
    return max(3.0, 0.9 * (baseline.n_windows - 1.0))


def _tolerance(baseline: Baseline) -> FloatArray:
    """Return what counts as no change of a channel that did not move in the baseline."""
    tolerance: FloatArray = _TINY_SHARE * np.maximum(np.abs(baseline.table[fields.MEAN]), baseline.table[fields.STD])
    return tolerance


def _table(baseline: Baseline) -> FloatArray:
    table = np.zeros((8, baseline.table.shape[1]))
    table[MEAN_TOLERANCE] = table[SPREAD_TOLERANCE] = _tolerance(baseline)
    return table


def _weights(table: FloatArray) -> FloatArray:
    """Weigh channels by their limits, so that the common arm is the median of the scores."""
    for limit, weight in ((MEAN_LIMIT, MEAN_WEIGHT), (SPREAD_LIMIT, SPREAD_WEIGHT)):
        table[weight] = np.where(table[limit] > 0.0, 1.0 / np.where(table[limit] > 0.0, table[limit], 1.0), 0.0)
    return np.array([[0.0, 1.0], [0.0, 1.0]])


def _without_spread(settings: DriftMonitorSettings, table: FloatArray) -> None:
    """Model signals: the spread of a share follows from its mean and says nothing of its own."""
    if settings.watch == "model":
        table[MEAN_LIMIT] = np.maximum(table[MEAN_LIMIT], _SHARE_FLOOR)
        table[SPREAD_LIMIT] = _INFINITE


def _threshold(settings: DriftMonitorSettings, baseline: Baseline) -> Limits:
    """Fixed thresholds on mean and standard deviation, watched together: either one is drift."""
    zero = settings.zero_threshold if settings.zero_threshold is not None else 0.5
    absolute = settings.mean_threshold_abs if settings.mean_threshold_abs is not None else zero
    relative = settings.mean_threshold_rel if settings.mean_threshold_rel is not None else 0.2
    spread = settings.std_threshold if settings.std_threshold is not None else 0.2
    mean, std = np.abs(baseline.table[fields.MEAN]), baseline.table[fields.STD]
    table = _table(baseline)
    if settings.units == "raw":
        table[MEAN_LIMIT] = np.where(mean < zero, absolute, mean * relative)
    else:
        table[MEAN_LIMIT] = absolute * std
    is_flat = std < table[SPREAD_TOLERANCE]
    table[SPREAD_CENTRE] = std
    table[SPREAD_LIMIT] = np.where(is_flat, 0.0, std * spread)
    _without_spread(settings, table)
    return Limits(table, False, _weights(table), armed=True)


def _analytic(settings: DriftMonitorSettings, baseline: Baseline, quantile: float) -> Limits:
    """Standard errors by autocorrelation time and kurtosis, the baseline's own error included."""
    rows = baseline.table
    window = float(baseline.made_for.window)
    count = np.maximum(rows[fields.COUNT], 1.0)
    table = _table(baseline)
    inverse = 1.0 / window + 1.0 / count
    table[MEAN_LIMIT] = quantile * rows[fields.STD] * np.sqrt(rows[fields.TAU_MEAN] * inverse)
    kurtosis = np.maximum(rows[fields.KURTOSIS] - 1.0, 0.0) / 4.0
    table[SPREAD_CENTRE] = _log(rows[fields.STD])
    table[SPREAD_LIMIT] = quantile * np.sqrt(kurtosis * rows[fields.TAU_SQUARE] * inverse)
    _without_spread(settings, table)
    return Limits(table, True, _weights(table), armed=True)


def _empirical(settings: DriftMonitorSettings, baseline: Baseline, quantile: float | None) -> Limits:
    """Centres and scales of the baseline's own windows; without a quantile the limits are one scale (unit values)."""
    rows, n = baseline.table, float(baseline.n_windows)
    table = _table(baseline)
    table[MEAN_CENTRE], table[SPREAD_CENTRE] = rows[fields.MEAN_CENTRE], rows[fields.LOG_CENTRE]
    common = np.zeros((2, 2))
    for arm, (limit, weight, scale, rho) in enumerate(
        (
            (MEAN_LIMIT, MEAN_WEIGHT, fields.MEAN_SCALE, fields.MEAN_RHO),
            (SPREAD_LIMIT, SPREAD_WEIGHT, fields.LOG_SCALE, fields.LOG_RHO),
        )
    ):
        factor = np.ones_like(rows[rho]) if quantile is None else quantile * _allowance(rows[rho], n)
        table[limit] = rows[scale] * factor
        table[weight] = np.where(rows[scale] > 0.0, 1.0 / np.where(rows[scale] > 0.0, rows[scale], 1.0), 0.0)
        centre, one, correlation = baseline.common[arm]
        wide = 1.0 if quantile is None else quantile * float(_allowance(np.array([correlation]), n)[0])
        common[arm] = centre, one * wide
    _without_spread(settings, table)
    if settings.watch == "model":
        common[1, 1] = _INFINITE
    armed = baseline.n_windows >= MIN_BLOCKS
    why = "" if armed else f"baseline must have at least {MIN_BLOCKS} windows, got {baseline.n_windows}"
    return Limits(table, True, common, armed, why)


def _allowance(rho: FloatArray, n_windows: float) -> FloatArray:
    """Return what a scale is widened by: windows that remember each other, and the error of the centre."""
    memory = 1.0 + rho / (1.0 - rho)
    allowance: FloatArray = np.sqrt(memory + _CENTRE_VARIANCE / n_windows * (1.0 + rho) / (1.0 - rho))
    return allowance


def make_sequential(settings: DriftMonitorSettings, baseline: Baseline, *, tail: float) -> SequentialLimits:
    """Compute the limits of EWMA [1]_ and CUSUM [2]_ on unit window statistics.

    EWMA: ``L sqrt(w / (2 - w))``, widened for windows of lag-1 correlation ``rho`` by
    ``(1 + rho (1 - w)) / (1 - rho (1 - w))`` and for the error of the centre; ``L`` is the quantile of the tail. CUSUM:
    reference 0.5 plus two standard errors of the centre, limit by Siegmund for a run length of ``1 / tail``, both in
    units widened by ``sqrt((1 + rho) / (1 - rho))`` and by Student's quantile over the normal one.

    References
    ----------
    .. [1] Roberts, Control chart tests based on geometric moving averages, Technometrics 1(3), 239-250, 1959.
    .. [2] Page, Continuous inspection schemes, Biometrika 41, 100-115, 1954.
    """
    rows, n = baseline.table, float(baseline.n_windows)
    rho = np.concatenate([rows[[fields.MEAN_RHO, fields.LOG_RHO]], baseline.common[:, fields.RHO : fields.RHO + 1]], 1)
    error = np.sqrt(_CENTRE_VARIANCE / n * (1.0 + rho) / (1.0 - rho))
    quantile = student_quantile(tail, _dof(baseline))
    if settings.rule == "ewma":
        keep = rho * (1.0 - EWMA_WEIGHT)
        variance = EWMA_WEIGHT / (2.0 - EWMA_WEIGHT) * (1.0 + keep) / (1.0 - keep)
        return SequentialLimits(quantile * np.sqrt(variance + error * error), np.zeros_like(rho))
    unit = np.sqrt((1.0 + rho) / (1.0 - rho)) * (quantile / student_quantile(tail, NORMAL))
    reference = 0.5 * unit + 2.0 * error
    return SequentialLimits(cusum_limit(0.5, 1.0 / tail) * unit, reference)


def _log(values: FloatArray) -> FloatArray:
    """Take logarithms of standard deviations as the windows' are taken."""
    return np.array([0.5 * log(max(float(value) * float(value), TINY)) for value in values])
