"""Smooth stamps as liblsl's ``proc_dejitter`` does: a line through the past, found by recursive least squares.

The regressors are 1 and the sample's number, the past is forgotten by half every 90 s, and the stamp of a sample is
the line's value at it, the sample's own stamp included. The recursion is the textbook one [1]_ with liblsl's constants:
the prior covariance is 1e10, the prior slope the nominal period, stamps are taken relative to the first one's whole
second. It differs where liblsl does not look: a missing sample counts, and the line begins anew behind a clock step or
a gap that is not filled.

A smoothed stamp says when a sample would have come had the sender kept time; it may lie before or behind its arrival.
It is for aligning recordings, never for latency.

References
----------
.. [1] Haykin, Adaptive Filter Theory, 4th edition, Prentice-Hall, 2002, section 9.3.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, types, void

from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.engine.sequencer_kernel import CLOCK_STEP, IntArray

HALF_TIME_S = 90.0
PRIOR_VARIANCE = 1e10
_LN2 = 0.6931471805599453

FORGET, PRIOR_SLOPE, ORIGIN, COUNT, INTERCEPT, SLOPE, P00, P01, P11 = 0, 1, 2, 3, 4, 5, 6, 7, 8
N_PARAMETERS = 2
N_FLOATS = 9
_NOTES = types.Array(int64, 1, "C", readonly=True)


def first_state(sfreq: float) -> FloatArray:
    """Return parameters and state before the first stamp.

    Parameters
    ----------
    sfreq : float
        Nominal rate in Hz, above 0.
    """
    state = np.zeros(N_FLOATS)
    state[FORGET] = _forgetting(sfreq * HALF_TIME_S)
    state[PRIOR_SLOPE] = 1.0 / sfreq
    state[COUNT] = -1.0
    return state


def _forgetting(n_samples: float) -> float:
    """Return ``2 ** (-1 / n_samples)`` by its series: the same bits on every machine."""
    exponent = -_LN2 / n_samples
    total = 1.0
    for n in range(40, 0, -1):
        total = 1.0 + exponent / n * total
    return total


@kernel(void(float64[::1], _NOTES, int64, float64[::1]))
def smooth_stamps(stamps: FloatArray, notes: IntArray, n_reset: int, state: FloatArray) -> None:
    """Replace stamps by the line's, in place.

    Parameters
    ----------
    stamps : array, shape (n_samples,)
        Raw and finite.
    notes : array of int64, shape (>= n_samples,)
        What `neuroloop.stream.engine.sequencer_kernel.number_samples` noted; dropped samples are left alone.
    n_reset : int
        The line begins anew where more samples than that are missing.
    state : array
        Advanced.
    """
    forget = state[FORGET]
    grow = 1.0 / forget
    for i in range(len(stamps)):
        advance = notes[i] >> 2
        if advance == 0:
            continue
        if state[COUNT] < 0 or advance - 1 > n_reset or notes[i] & 3 == CLOCK_STEP:
            state[ORIGIN] = np.floor(stamps[i])
            state[COUNT] = state[INTERCEPT] = state[P01] = 0.0
            state[SLOPE] = state[PRIOR_SLOPE]
            state[P00] = state[P11] = PRIOR_VARIANCE
        else:
            state[COUNT] += float64(advance)
        x = state[COUNT]
        p0 = state[P00] + x * state[P01]
        p1 = state[P01] + x * state[P11]
        error = (stamps[i] - state[ORIGIN]) - (state[INTERCEPT] + x * state[SLOPE])
        gain = 1.0 / (forget + p0 + p1 * x)
        state[P00] = grow * (state[P00] - p0 * p0 * gain)
        state[P01] = grow * (state[P01] - p0 * p1 * gain)
        state[P11] = grow * (state[P11] - p1 * p1 * gain)
        state[INTERCEPT] += error * (state[P00] + state[P01] * x)
        state[SLOPE] += error * (state[P01] + state[P11] * x)
        stamps[i] = state[INTERCEPT] + x * state[SLOPE] + state[ORIGIN]
