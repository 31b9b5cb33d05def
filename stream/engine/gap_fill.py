"""What stands in for missing samples."""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, types, void

from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray
from neuroloop.stream.engine.sequencer_kernel import LAST_STAMP, ROW, IntArray

FILLS = {"hold": 0, "zero": 1, "interpolate": 2, "nan": 3}

_F1_IN = types.Array(float64, 1, "C", readonly=True)
_F2_IN = types.Array(float64, 2, "C", readonly=True)
_I1_IN = types.Array(int64, 1, "C", readonly=True)
_B1_IN = types.Array(boolean, 1, "C", readonly=True)


@kernel(void(_F2_IN, _F1_IN, _B1_IN, _I1_IN, int64, float64[::1], float64[:, ::1], float64[::1], boolean[::1]))
def fill_rows(
    data: FloatArray,
    timestamps: FloatArray,
    valid: BoolArray,
    advances: IntArray,
    fill: int,
    floats: FloatArray,
    out_data: FloatArray,
    out_timestamps: FloatArray,
    out_valid: BoolArray,
) -> None:
    """Copy the accepted rows and write what stands in for the missing ones between them.

    Parameters
    ----------
    data, timestamps, valid : array
        Rows as received.
    advances : array of int64, shape (n_samples,)
        0 drops the row, 1 appends it, ``1 + m`` writes ``m`` rows before it.
    fill : int
        A value of `FILLS`.
    floats : array
        The sequencer's state; its last row and stamp are read and advanced.
    out_data, out_timestamps, out_valid : array, shape (sum(advances), ...)
        Filled; rows that were not received are False in ``out_valid``, their stamps lie evenly between the
        neighbours'.
    """
    n_channels = data.shape[1]
    row = 0
    for i in range(len(advances)):
        n_parts = advances[i]
        if n_parts == 0:
            continue
        before, after = floats[LAST_STAMP], timestamps[i]
        for part in range(1, n_parts):
            share = part / n_parts
            out_timestamps[row] = before + (after - before) * share
            out_valid[row] = False
            for c in range(n_channels):
                held = floats[ROW + c]
                if fill == 1:
                    out_data[row, c] = 0.0
                elif fill == 2:
                    out_data[row, c] = held + (data[i, c] - held) * share
                elif fill == 3:
                    out_data[row, c] = np.nan
                else:
                    out_data[row, c] = held
            row += 1
        out_timestamps[row] = after
        out_valid[row] = valid[i]
        for c in range(n_channels):
            out_data[row, c] = data[i, c]
            floats[ROW + c] = data[i, c]
        floats[LAST_STAMP] = after
        row += 1
