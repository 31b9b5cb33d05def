"""The kernel of the filter stage: a cascade of second-order sections with hold, priming and flags."""

from __future__ import annotations

from typing import Any

from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.processors.numerics.simd64 import LANES, MAX_SECTIONS, address, run_sections
from neuroloop.processors.stages.input_guard import FLAGS, LIMIT, ROWS, all_good, hold_row
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

STARTED, LAST_BAD, WARMUP = 0, 1, 2
"""Places in the cascade's integer state."""


@kernel(void(ROWS, FLAGS, ROWS, float64[:, ::1], int64[::1], int64, float64[:, ::1], boolean[::1]))
def filter_into(
    x: FloatArray,
    valid: BoolArray,
    coefficients: FloatArray,
    state: FloatArray,
    marks: NDArray[Any],
    first: int,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Filter a chunk of at least one row.

    ``coefficients`` has 8 columns: b0 b1 b2 a1 a2, the two unit states, one unused. ``state`` has two rows per
    section and a last one with the held values; its columns are padded. ``marks`` see `STARTED`, `LAST_BAD`, `WARMUP`.
    """
    n_rows, n_channels = x.shape
    n_sections = coefficients.shape[0]
    held = state[2 * n_sections]
    if marks[STARTED] == 0:
        marks[LAST_BAD] = first - 1
    last_bad = marks[LAST_BAD]
    source = address(x)
    if all_good(x):
        for c in range(n_channels):
            held[c] = x[n_rows - 1, c]
        for i in range(n_rows):
            if not valid[i]:
                last_bad = first + i
            valid_out[i] = first + i - last_bad > marks[WARMUP]
        if n_sections == 0:
            for i in range(n_rows):
                for c in range(n_channels):
                    out[i, c] = x[i, c]
    else:
        source = address(out)
        for i in range(n_rows):
            if hold_row(x, i, held, out, i) > 0 or not valid[i]:
                last_bad = first + i
            valid_out[i] = first + i - last_bad > marks[WARMUP]
    marks[LAST_BAD] = last_bad
    if marks[STARTED] == 0:
        marks[STARTED] = 1
        for c in range(n_channels):
            value = x[0, c] if abs(x[0, c]) <= LIMIT else 0.0
            for s in range(n_sections):
                state[2 * s, c] = coefficients[s, 5] * value
                state[2 * s + 1, c] = coefficients[s, 6] * value
                value = coefficients[s, 0] * value + state[2 * s, c]
    target = address(out)
    for c in range(0, n_channels, LANES):
        begin = source
        for s in range(0, n_sections, MAX_SECTIONS):
            run_sections(
                begin + 8 * c,
                target + 8 * c,
                address(coefficients) + 64 * s,
                address(state) + 8 * (2 * s * state.shape[1] + c),
                n_rows,
                n_channels,
                state.shape[1],
                n_channels - c,
                min(n_sections - s, MAX_SECTIONS),
            )
            begin = target
