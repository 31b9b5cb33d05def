"""How many samples one independent sample is worth: the integrated autocorrelation time, by Geyer's rule.

References
----------
.. [1] Geyer, Practical Markov chain Monte Carlo, Statistical Science 7(4), 473-483, 1992 (initial positive pairs).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float64, int64, void

from neuroloop.config.kernels import kernel
from neuroloop.processors.stages.input_guard import LIMIT
from neuroloop.stream.contracts.chunks import FloatArray

N_LAGS = 256
"""The longest lag looked at, unless stretches are shorter."""
_LANES = 8


class Correlation(NamedTuple):
    """What the rows say about how fast a channel forgets; arrays of shape (n_channels,).

    Parameters
    ----------
    tau_mean : array
        Autocorrelation time of the values, in rows, at least 1.
    tau_square : array
        That of their squared distance from the mean.
    kurtosis : array
        Fourth standardised moment; 3 for normal values.
    """

    tau_mean: FloatArray
    tau_square: FloatArray
    kurtosis: FloatArray


@kernel(void(float64[:, :, ::1], int64, float64[::1], float64[:, ::1]))
def _correlate_into(x: FloatArray, n_lags: int, series: FloatArray, out: FloatArray) -> None:
    """Fill ``out`` (3, n_channels); a value that is not good counts as the mean and so adds to no product.

    ``series`` holds all stretches one behind the other, ``n_lags`` zeros behind each: one loop serves all, no product
    reaches into the next stretch. Lags go eight at a time, each in a lane of its own.
    """
    n_stretches, n_rows, n_channels = x.shape
    span = n_rows + n_lags
    for c in range(n_channels):
        n, mean = 0.0, 0.0
        for s in range(n_stretches):
            for i in range(n_rows):
                value = x[s, i, c]
                if abs(value) <= LIMIT:
                    n += 1.0
                    mean += value
        out[0, c] = 1.0
        out[1, c] = 1.0
        out[2, c] = 3.0
        if n < 4.0:
            continue
        mean /= n
        m2, m4 = 0.0, 0.0
        for s in range(n_stretches):
            for i in range(n_rows):
                value = x[s, i, c] - mean
                if abs(value) <= LIMIT:
                    m2 += value * value
                    m4 += value * value * (value * value)
        m2 /= n
        if not m2 > 0.0:
            continue
        out[2, c] = m4 / n / (m2 * m2)
        for power in range(2):
            for s in range(n_stretches):
                for i in range(n_rows):
                    value = x[s, i, c] - mean
                    kept = value if power == 0 else value * value - m2
                    series[s * span + i] = kept if abs(value) <= LIMIT else 0.0
            total, first, tau = 0.0, 0.0, 0.0
            k = 0
            while k < n_lags:
                a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
                for i in range(n_stretches * span):
                    value = series[i]
                    a0 += value * series[i + k]
                    a1 += value * series[i + k + 1]
                    a2 += value * series[i + k + 2]
                    a3 += value * series[i + k + 3]
                    a4 += value * series[i + k + 4]
                    a5 += value * series[i + k + 5]
                    a6 += value * series[i + k + 6]
                    a7 += value * series[i + k + 7]
                if k == 0:
                    total = a0
                    if not total > 0.0:
                        break
                first = (a0 + a1) / total
                tau += max(first, 0.0)
                second = (a2 + a3) / total
                if first > 0.0:
                    tau += max(second, 0.0)
                third = (a4 + a5) / total
                if first > 0.0 and second > 0.0:
                    tau += max(third, 0.0)
                fourth = (a6 + a7) / total
                if first > 0.0 and second > 0.0 and third > 0.0:
                    tau += max(fourth, 0.0)
                if not (first > 0.0 and second > 0.0 and third > 0.0 and fourth > 0.0):
                    break
                k += _LANES
            out[power, c] = max(2.0 * tau - 1.0, 1.0)


def correlate(stretches: FloatArray) -> Correlation:
    """Estimate autocorrelation times and kurtosis from stretches of consecutive rows.

    Parameters
    ----------
    stretches : array, shape (n_stretches, n_rows, n_channels), C order
        Not finite where a row is missing.

    Returns
    -------
    Correlation
    """
    n_stretches, n_rows, n_channels = stretches.shape
    n_lags = max(_LANES, min(N_LAGS, n_rows // 2) // _LANES * _LANES)
    series = np.zeros(n_stretches * (n_rows + n_lags) + n_lags + _LANES)
    out = np.empty((3, n_channels))
    _correlate_into(stretches, n_lags, series, out)
    return Correlation(out[0], out[1], out[2])
