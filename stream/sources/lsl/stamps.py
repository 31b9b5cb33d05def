"""Stamps that liblsl cannot carry: 0 means "now" to it and -1 "the one after the last".

Our own outlets that play a recording send the nearest number with no such meaning in their place, and our own inlets
put the original back, so that a recording whose clock begins at 0 arrives as it is.
"""

from __future__ import annotations

import numpy as np

from neuroloop.stream.contracts.chunks import FloatArray

STAND_IN_FOR_ZERO = float(np.finfo(np.float64).tiny)
STAND_IN_FOR_MINUS_ONE = float(np.nextafter(-1.0, 0.0))


def sendable(timestamps: FloatArray) -> FloatArray:
    """Replace the stamps that have a meaning of their own to liblsl.

    Parameters
    ----------
    timestamps : array, shape (n_samples,)

    Returns
    -------
    array, shape (n_samples,)
        The same array where nothing had to be replaced, otherwise a new one.
    """
    zero, minus_one = timestamps == 0.0, timestamps == -1.0
    if not (zero.any() or minus_one.any()):
        return timestamps
    replaced = timestamps.copy()
    replaced[zero] = STAND_IN_FOR_ZERO
    replaced[minus_one] = STAND_IN_FOR_MINUS_ONE
    return replaced


def restore(timestamps: FloatArray) -> None:
    """Put the original stamps back, in place; the inverse of `sendable`."""
    timestamps[timestamps == STAND_IN_FOR_ZERO] = 0.0
    timestamps[timestamps == STAND_IN_FOR_MINUS_ONE] = -1.0
