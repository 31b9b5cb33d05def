"""The kernel of the artifact stage: what is faulty, which channels are bad, which episodes are over.

Every rule is a recursion over the rows that are *looked at*: those that were received, and those that are flagged
because a value is not finite. A row that is flagged and finite stands for a missing or a settling one: nothing is
learnt from it, and the next row that is looked at has no predecessor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, int64, types, uint8
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.processors.stages.input_guard import FLAGS, LIMIT, ROWS
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

KINDS = ("amplitude", "gradient", "flat", "rail", "muscle", "nonfinite")
N_KINDS = 6
AMPLITUDE, GRADIENT, FLAT, RAIL, MUSCLE, NONFINITE = 1, 2, 4, 8, 16, 32
AT_ONCE = AMPLITUDE | GRADIENT | FLAT
N_BINS = 8
"""The time of ``flat`` is cut into so many bins; flatness is known at most one bin late."""

P_AMPLITUDE, P_BASELINE, P_GRADIENT, P_FLAT, P_LOW, P_HIGH, P_POWER, P_AVERAGE = 0, 1, 2, 3, 4, 5, 6, 7
N_PARAMETERS = 8
C_ONSET, C_RECOVER, C_BIN, C_REPEATS, C_MAX_BAD, C_OUTPUT = 0, 1, 2, 3, 4, 5
N_COUNTS = 6
KEEP, HOLD, ZERO = 0, 1, 2

# rows of the floating-point state; two per section of the muscle filter follow
HELD, KEPT, BASELINE, BIN_LOW, BIN_HIGH, OLD_LOW, OLD_HIGH, LOWEST, HIGHEST, POWER, SCRATCH = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
)  # fmt: skip
BINS = 11
SECTIONS = BINS + 2 * N_BINS
# rows of the integer state
SEEN, FRESH, RUN, BAD, EPISODE, MASK, WATCHED, COUNT = 0, 1, 2, 3, 4, 5, 6, 7
NEWEST = COUNT + N_KINDS
N_INT_ROWS = NEWEST + N_KINDS
# marks
T, N_STALE, BIN_FILL, BINS_DONE, N_BAD, BAD_OF = 0, 1, 2, 3, 4, 5
FIRST_OF = BAD_OF + N_KINDS
LAST_OF = FIRST_OF + N_KINDS
N_MARKS = LAST_OF + N_KINDS
TINY = 1e-200
"""Smaller magnitudes become 0 before they turn subnormal, which is slow."""

_COUNTS = types.Array(int64, 1, "C", readonly=True)
_NUMBERS = types.Array(float64, 1, "C", readonly=True)
IntArray = NDArray[Any]


@kernel(inline=True)
def _flush(value: float) -> float:
    """Return the value, or 0 for one that is nearly subnormal."""
    return value if abs(value) > TINY else 0.0


@kernel(inline=True)
def _prime(x: FloatArray, i: int, sos: FloatArray, floats: FloatArray, ints: IntArray, marks: IntArray) -> None:
    """Begin the channels that have no predecessor with row ``i``."""
    for c in range(x.shape[1]):
        value = x[i, c]
        if ints[FRESH, c] != 0 or not abs(value) <= LIMIT:
            continue
        ints[FRESH, c] = 1
        marks[N_STALE] -= 1
        floats[HELD, c] = value
        ints[RUN, c] = 0
        if ints[SEEN, c] == 0:
            ints[SEEN, c] = 1
            floats[BASELINE, c] = floats[KEPT, c] = value
            floats[LOWEST, c] = floats[HIGHEST, c] = value
        for s in range(sos.shape[0]):
            floats[SECTIONS + 2 * s, c] = sos[s, 6] * value
            floats[SECTIONS + 2 * s + 1, c] = sos[s, 7] * value
            value = sos[s, 0] * value + floats[SECTIONS + 2 * s, c]


@kernel(inline=True)
def _close_bin(floats: FloatArray, marks: IntArray) -> None:
    """Put the full bin among the last `N_BINS` ones and begin the next."""
    n_channels = floats.shape[1]
    slot = marks[BINS_DONE] % N_BINS
    marks[BINS_DONE] += 1
    marks[BIN_FILL] = 0
    for c in range(n_channels):
        floats[BINS + slot, c] = floats[BIN_LOW, c]
        floats[BINS + N_BINS + slot, c] = floats[BIN_HIGH, c]
        floats[BIN_LOW, c] = floats[OLD_LOW, c] = np.inf
        floats[BIN_HIGH, c] = floats[OLD_HIGH, c] = -np.inf
    for b in range(min(marks[BINS_DONE], N_BINS)):
        for c in range(n_channels):
            floats[OLD_LOW, c] = min(floats[OLD_LOW, c], floats[BINS + b, c])
            floats[OLD_HIGH, c] = max(floats[OLD_HIGH, c], floats[BINS + N_BINS + b, c])


@kernel(inline=True)
def _lose_predecessor(floats: FloatArray, ints: IntArray, marks: IntArray) -> None:
    """Note that the next row that is looked at does not follow the last one."""
    n_channels = floats.shape[1]
    marks[N_STALE] = n_channels
    marks[BIN_FILL] = marks[BINS_DONE] = 0
    for c in range(n_channels):
        ints[FRESH, c] = 0
        floats[BIN_LOW, c] = np.inf
        floats[BIN_HIGH, c] = -np.inf


@kernel(inline=True)
def _filter_row(sos: FloatArray, floats: FloatArray) -> None:
    """Run the muscle filter over the scratch row, in place."""
    for s in range(sos.shape[0]):
        b0, b1, b2, a1, a2 = sos[s, 0], sos[s, 1], sos[s, 2], sos[s, 4], sos[s, 5]
        one, two = SECTIONS + 2 * s, SECTIONS + 2 * s + 1
        for c in range(floats.shape[1]):
            value = floats[SCRATCH, c]
            y = b0 * value + floats[one, c]
            floats[one, c] = _flush(b1 * value - a1 * y + floats[two, c])
            floats[two, c] = _flush(b2 * value - a2 * y)
            floats[SCRATCH, c] = y


@kernel(inline=True)
def _find_faults(
    x: FloatArray,
    i: int,
    parameters: FloatArray,
    counts: IntArray,
    sos: FloatArray,
    floats: FloatArray,
    ints: IntArray,
    marks: IntArray,
) -> None:
    """Write into ``MASK`` what is faulty in row ``i``, and advance what the rules remember."""
    n_channels = x.shape[1]
    amplitude, baseline, gradient = parameters[P_AMPLITUDE], parameters[P_BASELINE], parameters[P_GRADIENT]
    low, high, power, average = parameters[P_LOW], parameters[P_HIGH], parameters[P_POWER], parameters[P_AVERAGE]
    flat = parameters[P_FLAT] if marks[BINS_DONE] >= N_BINS else -1.0
    n_repeats = counts[C_REPEATS]
    for c in range(n_channels):
        held = floats[HELD, c]
        good = abs(x[i, c]) <= LIMIT
        value = x[i, c] if good else held
        lead = value - floats[BASELINE, c]
        mask = AMPLITUDE if abs(lead) > amplitude else 0
        floats[BASELINE, c] = _flush(floats[BASELINE, c] + baseline * lead)
        mask |= GRADIENT if abs(value - held) > gradient else 0
        floats[HELD, c] = floats[SCRATCH, c] = value
        floats[BIN_LOW, c] = min(floats[BIN_LOW, c], value if good else -np.inf)
        floats[BIN_HIGH, c] = max(floats[BIN_HIGH, c], value if good else np.inf)
        spread = max(floats[BIN_HIGH, c], floats[OLD_HIGH, c]) - min(floats[BIN_LOW, c], floats[OLD_LOW, c])
        mask |= FLAT if spread < flat else 0
        floats[LOWEST, c] = min(floats[LOWEST, c], value)
        floats[HIGHEST, c] = max(floats[HIGHEST, c], value)
        run = ints[RUN, c] + 1 if value == held else 1
        ints[RUN, c] = run
        at_end = value <= floats[LOWEST, c] or value >= floats[HIGHEST, c]
        mask |= RAIL if (run >= n_repeats and at_end) or value <= low or value >= high else 0
        ints[MASK, c] = (mask if good else NONFINITE) & ints[WATCHED, c]
        if not good:
            marks[N_STALE] += ints[FRESH, c]
            ints[FRESH, c] = 0
    if sos.shape[0] > 0:
        _filter_row(sos, floats)
        for c in range(n_channels):
            y = floats[SCRATCH, c]
            floats[POWER, c] = _flush(floats[POWER, c] + average * (y * y - floats[POWER, c]))
            loud = floats[POWER, c] > power and (ints[MASK, c] & NONFINITE) == 0
            ints[MASK, c] |= MUSCLE & ints[WATCHED, c] if loud else 0
    marks[BIN_FILL] += 1
    if marks[BIN_FILL] >= counts[C_BIN]:
        _close_bin(floats, marks)


@kernel(inline=True)
def _judge_channels(
    row: int,
    slot: int,
    counts: IntArray,
    ints: IntArray,
    ring: NDArray[np.uint8],
    marks: IntArray,
    closed: IntArray,
    closed_channels: IntArray,
    n_closed: int,
) -> int:
    """Let faults make channels bad and time make them good; note the episodes that end; return how many ended."""
    n_channels = ints.shape[1]
    t = marks[T]
    for k in range(N_KINDS):
        bit = 1 << k
        for c in range(n_channels):
            now = ints[MASK, c] & bit
            ints[COUNT + k, c] += (now >> k) - ((int64(ring[slot, c]) & bit) >> k)
            if now != 0:
                ints[NEWEST + k, c] = t
                if ints[BAD, c] & bit == 0 and (bit & AT_ONCE != 0 or ints[COUNT + k, c] >= counts[C_ONSET]):
                    marks[N_BAD] += ints[BAD, c] == 0
                    ints[BAD, c] |= bit
                    if marks[BAD_OF + k] == 0:
                        marks[FIRST_OF + k] = row
                    marks[BAD_OF + k] += 1
                    ints[EPISODE, c] |= bit
                if ints[BAD, c] & bit != 0:
                    marks[LAST_OF + k] = row
            elif ints[BAD, c] & bit != 0 and t - ints[NEWEST + k, c] >= counts[C_RECOVER]:
                ints[BAD, c] &= ~bit
                marks[N_BAD] -= ints[BAD, c] == 0
                marks[BAD_OF + k] -= 1
        if marks[FIRST_OF + k] >= 0 and marks[BAD_OF + k] == 0:
            closed[n_closed, 0] = row
            closed[n_closed, 1] = k
            closed[n_closed, 2] = marks[FIRST_OF + k]
            closed[n_closed, 3] = marks[LAST_OF + k]
            for c in range(n_channels):
                closed_channels[n_closed, c] = (ints[EPISODE, c] >> k) & 1
                ints[EPISODE, c] &= ~bit
            marks[FIRST_OF + k] = -1
            n_closed += 1
    return n_closed


@kernel(
    int64(
        ROWS,
        FLAGS,
        int64,
        _NUMBERS,
        _COUNTS,
        ROWS,
        float64[:, ::1],
        int64[:, ::1],
        uint8[:, ::1],
        int64[::1],
        float64[:, ::1],
        boolean[::1],
        int64[:, ::1],
        int64[:, ::1],
    )
)
def mark_rows(
    x: FloatArray,
    valid: BoolArray,
    first: int,
    parameters: FloatArray,
    counts: IntArray,
    sos: FloatArray,
    floats: FloatArray,
    ints: IntArray,
    ring: NDArray[np.uint8],
    marks: IntArray,
    out: FloatArray,
    valid_out: BoolArray,
    closed: IntArray,
    closed_channels: IntArray,
) -> int:
    """Mark the rows of a chunk.

    Parameters
    ----------
    x, valid : array
        The chunk; ``first`` is the global index of its first row.
    parameters, counts : array
        See ``P_*`` and ``C_*``.
    sos : array, shape (n_sections, 8)
        The muscle filter and each section's unit state; may be empty.
    floats, ints, marks : array
        State, advanced.
    ring : array of uint8, shape (n_window, n_channels)
        What was faulty in the rows of the last second.
    out, valid_out : array
        Filled.
    closed, closed_channels : array
        Filled with the episodes that ended: row, kind, first and last faulty row; which channels took part.

    Returns
    -------
    int
        Number of episodes that ended.
    """
    n_rows, n_channels = x.shape
    n_closed = 0
    for i in range(n_rows):
        n_nonfinite = 0
        for c in range(n_channels):
            n_nonfinite += 0 if abs(x[i, c]) <= LIMIT else 1
        looked_at = valid[i] or n_nonfinite > 0
        if looked_at:
            if marks[N_STALE] > 0:
                _prime(x, i, sos, floats, ints, marks)
            _find_faults(x, i, parameters, counts, sos, floats, ints, marks)
            slot = marks[T] % ring.shape[0]
            something = int64(0)
            for c in range(n_channels):
                something |= ints[MASK, c] | ints[BAD, c] | int64(ring[slot, c])
            if something != 0:
                n_closed = _judge_channels(
                    first + i, slot, counts, ints, ring, marks, closed, closed_channels, n_closed
                )
                for c in range(n_channels):
                    ring[slot, c] = uint8(ints[MASK, c])
            marks[T] += 1
        else:
            if marks[N_STALE] < n_channels or marks[BINS_DONE] > 0 or marks[BIN_FILL] > 0:
                _lose_predecessor(floats, ints, marks)
            for c in range(n_channels):
                floats[HELD, c] = x[i, c]
        for c in range(n_channels):
            out[i, c] = floats[HELD, c]
        if marks[N_BAD] > 0 and counts[C_OUTPUT] != KEEP:
            for c in range(n_channels):
                if ints[BAD, c] != 0:
                    out[i, c] = floats[KEPT, c] if counts[C_OUTPUT] == HOLD else 0.0
                else:
                    floats[KEPT, c] = floats[HELD, c]
        else:
            for c in range(n_channels):
                floats[KEPT, c] = floats[HELD, c]
        valid_out[i] = valid[i] and n_nonfinite == 0 and marks[N_BAD] <= counts[C_MAX_BAD]
    return n_closed
