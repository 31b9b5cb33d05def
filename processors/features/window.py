"""The window stage: an output row is a whole window, flattened time-major."""

from __future__ import annotations

import dataclasses

import numpy as np
from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import direct, kernel
from neuroloop.config.stages import WindowSettings
from neuroloop.processors.stages.input_guard import FIRST_ROW, FLAGS, LAST_BAD, ROWS, hold_row
from neuroloop.processors.stages.window_grid import WindowGrid
from neuroloop.processors.stages.window_stage import WindowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo


@kernel(
    void(
        *(ROWS, FLAGS, int64, int64, float64[::1], float64[:, ::1], int64[::1]),
        *(float64[:, ::1], boolean[::1]),
    )
)
def _cut_into(
    x: FloatArray,
    valid: BoolArray,
    first: int,
    hop: int,
    held: FloatArray,
    ring: FloatArray,
    marks: NDArray[np.int64],
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Put rows into the ring (row ``g`` at ``g % window``) and copy out every window that is complete."""
    window, n_channels = ring.shape
    written = 0
    for i in range(x.shape[0]):
        g = first + i
        if hold_row(x, i, held, ring, g % window) > 0 or not valid[i]:
            marks[LAST_BAD] = g
        begin = g - window + 1
        if begin >= 0 and begin % hop == 0 and begin // hop >= marks[FIRST_ROW]:
            for j in range(window):
                slot = (begin + j) % window
                for c in range(n_channels):
                    out[written, j * n_channels + c] = ring[slot, c]
            valid_out[written] = marks[LAST_BAD] < begin
            written += 1


_cut_directly = direct(_cut_into)


class Window(WindowStage):
    """Cut windows of the global index; row ``k`` begins at input row ``k * hop`` and is stamped as its newest row.

    A row is flagged when one of its input rows is. A value that is not finite is replaced by its channel's last good
    one and flags its row.

    Parameters
    ----------
    settings : WindowSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If a length becomes 0 samples.
    """

    def __init__(self, settings: WindowSettings, info: StreamInfo) -> None:
        grid = WindowGrid.from_settings(settings, info.sfreq)
        window, hop = grid.window, grid.hop
        info_out = dataclasses.replace(
            info,
            sfreq=info.sfreq / hop,
            ch_names=tuple(f"t{t}:{name}" for t in range(window) for name in info.ch_names),
            ch_types=info.ch_types * window,
            ch_units=info.ch_units * window,
        )
        self._ring = np.zeros((window, info.n_channels))
        super().__init__(settings.name, info, info_out=info_out, grid=grid, window_arrays={"ring": self._ring})

    def _run(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        _cut_directly(
            chunk.data, chunk.valid, chunk.first_sample, self._hop, self._held, self._ring, self._marks, out, valid
        )
