"""The log-variance stage: how strongly each channel moves within a window."""

from __future__ import annotations

import dataclasses

import numpy as np
from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import direct, kernel
from neuroloop.config.stages import LogVarianceSettings
from neuroloop.processors.numerics.elementary import TINY, log
from neuroloop.processors.stages.input_guard import FIRST_ROW, FLAGS, LAST_BAD, ROWS, hold_row
from neuroloop.processors.stages.window_grid import WindowGrid
from neuroloop.processors.stages.window_stage import WindowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo


@kernel(
    void(
        *(ROWS, FLAGS, int64, int64, float64[::1], float64[:, ::1], float64[::1], int64[::1]),
        *(float64[:, ::1], boolean[::1]),
    )
)
def _log_variance_into(
    x: FloatArray,
    valid: BoolArray,
    first: int,
    hop: int,
    held: FloatArray,
    ring: FloatArray,
    mean: FloatArray,
    marks: NDArray[np.int64],
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Put rows into the ring (row ``g`` at ``g % window``); two passes, oldest row first, over a complete window."""
    window, n_channels = ring.shape
    written = 0
    for i in range(x.shape[0]):
        g = first + i
        if hold_row(x, i, held, ring, g % window) > 0 or not valid[i]:
            marks[LAST_BAD] = g
        begin = g - window + 1
        if begin >= 0 and begin % hop == 0 and begin // hop >= marks[FIRST_ROW]:
            for c in range(n_channels):
                mean[c] = 0.0
                out[written, c] = 0.0
            for j in range(window):
                slot = (begin + j) % window
                for c in range(n_channels):
                    mean[c] += ring[slot, c]
            for c in range(n_channels):
                mean[c] = mean[c] / window
            for j in range(window):
                slot = (begin + j) % window
                for c in range(n_channels):
                    distance = ring[slot, c] - mean[c]
                    out[written, c] += distance * distance
            for c in range(n_channels):
                out[written, c] = log(max(out[written, c] / window, TINY))
            valid_out[written] = marks[LAST_BAD] < begin
            written += 1


_log_variance_directly = direct(_log_variance_into)


class LogVariance(WindowStage):
    """Natural logarithm of the variance (ddof 0) of each window, not below that of the smallest normal number.

    The unit of ``uV`` becomes ``log(uV^2)``. Windows lie and are flagged as those of
    `neuroloop.processors.features.window.Window`.

    Parameters
    ----------
    settings : LogVarianceSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If a length becomes 0 samples.
    """

    def __init__(self, settings: LogVarianceSettings, info: StreamInfo) -> None:
        grid = WindowGrid.from_settings(settings, info.sfreq)
        info_out = dataclasses.replace(
            info,
            sfreq=info.sfreq / grid.hop,
            ch_units=tuple(f"log({unit}^2)" if unit else "" for unit in info.ch_units),
        )
        self._ring = np.zeros((grid.window, info.n_channels))
        self._mean = np.zeros(info.n_channels)
        super().__init__(settings.name, info, info_out=info_out, grid=grid, window_arrays={"ring": self._ring})

    def _run(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        _log_variance_directly(
            chunk.data, chunk.valid, chunk.first_sample, self._hop,
            self._held, self._ring, self._mean, self._marks, out, valid,
        )  # fmt: skip
