"""Kernels of the band power stage: Fourier sums over blocks, or over whole windows.

Block method (the hop divides the window): each block of ``hop`` rows is transformed once, for the needed bins only, and
turned to the phase of the global index, so that a window's transform is the plain sum of its blocks. Blocks are also
summed in aligned groups; a window is its leading blocks, then whole groups, then the growing group, always in this
order: a closed form of the window's number. Nothing is ever subtracted, so no rounding accumulates and no bad sample
outlives its window. The periodic Hann window is three taps over neighbouring bins: ``X[m]/2 - X[m-1]/4 - X[m+1]/4``.

Direct method (any other window and hop): the window is multiplied into the table and every window transformed anew.

One channel is one lane throughout; a transform is an array of (bins, real and imaginary part, padded channels), flat.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, types, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.processors.numerics.elementary import TINY, log
from neuroloop.processors.numerics.simd64 import LANES, MAX_BINS, add_bins, address
from neuroloop.processors.stages.input_guard import FLAGS, INDICES, LAST_BAD, ROWS, VALUES, hold_row
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

TILE = 512
"""Doubles of a sum that stay in the nearest cache while blocks are added to it."""

_TABLE = types.Array(float64, 3, "C", readonly=True)
_BANDS = types.Array(int64, 2, "C", readonly=True)


@kernel(void(ROWS, FLAGS, int64, int64, int64, float64[::1], float64[:, ::1], int64[::1]))
def push_rows(
    x: FloatArray,
    valid: BoolArray,
    begin: int,
    end: int,
    first: int,
    held: FloatArray,
    rows: FloatArray,
    marks: NDArray[np.int64],
) -> None:
    """Put rows ``begin`` to ``end`` of a chunk into a ring, global row ``g`` at ``g % n_rows``."""
    slot = (first + begin) % rows.shape[0]
    for i in range(begin, end):
        if hold_row(x, i, held, rows, slot) > 0 or not valid[i]:
            marks[LAST_BAD] = first + i
        slot += 1
        if slot == rows.shape[0]:
            slot = 0


@kernel(void(float64[:, ::1], int64, int64, _TABLE, int64, float64[::1]))
def _transform(rows: FloatArray, begin: int, end: int, table: FloatArray, line: int, sums: FloatArray) -> None:
    """Add rows ``begin`` to ``end``, times the table's lines from ``line`` on, to ``sums``."""
    n_bins, stride = table.shape[1], rows.shape[1]
    if begin == end:
        return
    for c in range(0, stride, LANES):
        for m in range(0, n_bins, MAX_BINS):
            add_bins(
                address(rows) + 8 * (begin * stride + c),
                address(table) + 16 * (line * n_bins + m),
                address(sums) + 8 * (2 * m * stride + c),
                end - begin,
                stride,
                2 * n_bins,
                stride,
                min(n_bins - m, MAX_BINS),
            )


@kernel(inline=True)
def _write_band(power: FloatArray, is_log: bool, out: FloatArray, b: int, n_bands: int) -> None:
    """Write one band's powers into the channel-major output row."""
    for c in range(out.shape[0] // n_bands):
        out[c * n_bands + b] = log(power[c] + TINY) if is_log else power[c]


@kernel(void(float64[:, ::1], _TABLE, ROWS, INDICES, float64[:, ::1], int64, int64, int64, int64))
def finish_block(
    rows: FloatArray,
    table: FloatArray,
    rotors: FloatArray,
    bins: NDArray[np.int64],
    blocks: FloatArray,
    n_groups: int,
    group: int,
    j: int,
    first_block: int,
) -> None:
    """Transform block ``j``, store it and add it to its group.

    ``blocks`` has a slot per block of a window, then ``n_groups`` for groups of ``group`` blocks, then one for a
    window's sum. ``first_block`` is the first one after the start: a group begins with it or with its own first block.
    """
    n_blocks, stride = rotors.shape[0], rows.shape[1]
    single = blocks[j % n_blocks]
    for e in range(single.shape[0]):
        single[e] = 0.0
    _transform(rows, 0, rows.shape[0], table, 0, single)
    for m in range(bins.shape[0]):
        turn = (bins[m] * j) % n_blocks
        cosine, sine = rotors[turn, 0], rotors[turn, 1]
        real = single[2 * m * stride : (2 * m + 1) * stride]
        imag = single[(2 * m + 1) * stride : (2 * m + 2) * stride]
        for c in range(real.shape[0]):
            re, im = real[c], imag[c]
            real[c] = re * cosine - im * sine
            imag[c] = re * sine + im * cosine
    own_group = blocks[n_blocks + (j // group) % n_groups]
    if j % group == 0 or j == first_block:
        for e in range(single.shape[0]):
            own_group[e] = single[e]
    else:
        for e in range(single.shape[0]):
            own_group[e] += single[e]


@kernel(
    void(
        *(float64[:, ::1], ROWS, int64, int64, int64, INDICES, _BANDS, VALUES, boolean, float64[::1]),
        *(float64[::1],),
    )
)
def finish_window(
    blocks: FloatArray,
    rotors: FloatArray,
    n_groups: int,
    group: int,
    k: int,
    centres: NDArray[np.int64],
    bands: NDArray[np.int64],
    scale: FloatArray,
    is_log: bool,
    power: FloatArray,
    out: FloatArray,
) -> None:
    """Sum the blocks of window ``k``, whose last one is the newest, and integrate each band.

    ``centres`` says where each needed bin is among the transformed ones (its neighbours stand beside it), ``bands``
    the first and the end of each band's entries in ``centres``, ``scale`` what turns a squared magnitude into power.
    Neighbouring bins have turned against each other by the window's place, which a rotor undoes.
    """
    n_blocks, size, stride = rotors.shape[0], blocks.shape[1], power.shape[0]
    total = blocks[n_blocks + n_groups]
    for low in range(0, size, TILE):
        high = min(low + TILE, size)
        tile = total[low:high]
        for e in range(tile.shape[0]):
            tile[e] = 0.0
        j = k
        while j < k + n_blocks:
            slot = j % n_blocks
            step = 1
            if j % group == 0:
                slot = n_blocks + (j // group) % n_groups
                step = group
            part = blocks[slot, low:high]
            for e in range(tile.shape[0]):
                tile[e] += part[e]
            j += step
    cosine, sine = rotors[k % n_blocks, 0], rotors[k % n_blocks, 1]
    n_bands = bands.shape[0]
    for b in range(n_bands):
        for c in range(stride):
            power[c] = 0.0
        for e in range(bands[b, 0], bands[b, 1]):
            m = 2 * centres[e] * stride  # slices, for Numba vectorises what it need not check for negative indices
            below_re, below_im = total[m - 2 * stride : m - stride], total[m - stride : m]
            middle_re, middle_im = total[m : m + stride], total[m + stride : m + 2 * stride]
            above_re, above_im = total[m + 2 * stride : m + 3 * stride], total[m + 3 * stride : m + 4 * stride]
            factor = scale[e]
            for c in range(stride):
                re = (below_re[c] * cosine - below_im[c] * sine) + (above_re[c] * cosine + above_im[c] * sine)
                im = (below_im[c] * cosine + below_re[c] * sine) + (above_im[c] * cosine - above_re[c] * sine)
                re = 0.5 * middle_re[c] - 0.25 * re
                im = 0.5 * middle_im[c] - 0.25 * im
                power[c] += factor * (re * re + im * im)
        _write_band(power, is_log, out, b, n_bands)


@kernel(
    void(
        *(float64[:, ::1], int64, _TABLE, float64[::1], _BANDS, VALUES, boolean, float64[::1]),
        *(float64[::1],),
    )
)
def transform_window(
    rows: FloatArray,
    oldest: int,
    table: FloatArray,
    sums: FloatArray,
    bands: NDArray[np.int64],
    scale: FloatArray,
    is_log: bool,
    power: FloatArray,
    out: FloatArray,
) -> None:
    """Transform a whole window that begins at ring slot ``oldest``, with a windowed table, and integrate each band."""
    n_rows, stride = rows.shape
    for e in range(sums.shape[0]):
        sums[e] = 0.0
    _transform(rows, oldest, n_rows, table, 0, sums)
    _transform(rows, 0, oldest, table, n_rows - oldest, sums)
    n_bands = bands.shape[0]
    for b in range(n_bands):
        for c in range(stride):
            power[c] = 0.0
        for m in range(bands[b, 0], bands[b, 1]):
            real, imag = sums[2 * m * stride : (2 * m + 1) * stride], sums[(2 * m + 1) * stride : (2 * m + 2) * stride]
            factor = scale[m]
            for c in range(stride):
                power[c] += factor * (real[c] * real[c] + imag[c] * imag[c])
        _write_band(power, is_log, out, b, n_bands)
