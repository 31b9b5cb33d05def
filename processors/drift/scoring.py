"""How far one window is from the baseline, per channel and for all channels together, as multiples of the limit."""

from __future__ import annotations

from numba import boolean, float64, void

from neuroloop.config.kernels import kernel
from neuroloop.processors.drift.limits import CAP, EWMA_WEIGHT
from neuroloop.processors.drift.moments import COUNT, LOG_STD, MEAN, STD
from neuroloop.stream.contracts.chunks import FloatArray

FILL = 0.8
"""A channel's window is scored when this share of its rows is good."""
MIN_COMMON = 3
"""Fewer scored channels have no common arm."""
_NAN = float("nan")
_CUSUM_CAP = 1.25


@kernel(inline=True)
def _ratio(difference: float, limit: float, tolerance: float) -> float:
    """Return difference / limit within +-CAP; where nothing may change, 0 or CAP."""
    if limit > 0.0:
        return min(max(difference / limit, -CAP), CAP)
    if abs(difference) <= tolerance:
        return 0.0
    return CAP if difference > 0.0 else -CAP


@kernel(
    void(
        *(float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], float64[:, ::1], boolean),
        *(float64, float64[::1], float64[:, ::1]),
    )
)
def score_into(
    window: FloatArray,
    offset: FloatArray,
    baseline_count: FloatArray,
    limits: FloatArray,
    common: FloatArray,
    use_log: bool,
    needed: float,
    scratch: FloatArray,
    out: FloatArray,
) -> None:
    """Fill ``out`` (2, n_channels + 1): mean and spread, signed; the last column is the median over the channels.

    ``offset`` is the baseline's mean relative to the moments' anchor. A channel with too few good rows, in the window
    or in the baseline, gets NaN, and so does the common column below `MIN_COMMON` channels.
    """
    n_channels = window.shape[1]
    row = LOG_STD if use_log else STD
    for arm in range(2):
        n_scored = 0
        for c in range(n_channels):
            if window[COUNT, c] < needed or baseline_count[c] <= 0.0:
                out[arm, c] = _NAN
                continue
            value = window[MEAN, c] - offset[c] if arm == 0 else window[row, c]
            difference = value - limits[4 * arm, c]
            out[arm, c] = _ratio(difference, limits[4 * arm + 1, c], limits[4 * arm + 3, c])
            weighted = difference * limits[4 * arm + 2, c]
            j = n_scored
            while j > 0 and scratch[j - 1] > weighted:
                scratch[j] = scratch[j - 1]
                j -= 1
            scratch[j] = weighted
            n_scored += 1
        if n_scored < MIN_COMMON:
            out[arm, n_channels] = _NAN
        else:
            middle = 0.5 * (scratch[(n_scored - 1) // 2] + scratch[n_scored // 2])
            out[arm, n_channels] = _ratio(middle - common[arm, 0], common[arm, 1], 0.0)


@kernel(void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1]))
def ewma_into(unit: FloatArray, limit: FloatArray, state: FloatArray, out: FloatArray) -> None:
    """Move the averages on by one window of unit values and give them as multiples of their limits."""
    for arm in range(unit.shape[0]):
        for c in range(unit.shape[1]):
            value = unit[arm, c]
            if abs(value) <= CAP:
                state[arm, c] = state[arm, c] + EWMA_WEIGHT * (value - state[arm, c])
                out[arm, c] = state[arm, c] / limit[arm, c]
            else:
                out[arm, c] = _NAN


@kernel(void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1]))
def cusum_into(unit: FloatArray, limit: FloatArray, reference: FloatArray, state: FloatArray, out: FloatArray) -> None:
    """Move both one-sided sums (rows 0-1 up, 2-3 down) on by one window; the larger one counts, with its sign.

    A sum stops at `_CUSUM_CAP` limits: what went up for hours would otherwise take hours to come back.
    """
    for arm in range(unit.shape[0]):
        for c in range(unit.shape[1]):
            value, k, most = unit[arm, c], reference[arm, c], _CUSUM_CAP * limit[arm, c]
            if abs(value) <= CAP:
                up = min(max(state[arm, c] + value - k, 0.0), most)
                down = min(max(state[arm + 2, c] - value - k, 0.0), most)
                state[arm, c] = up
                state[arm + 2, c] = down
                out[arm, c] = (up if up >= down else -down) / limit[arm, c]
            else:
                out[arm, c] = _NAN
