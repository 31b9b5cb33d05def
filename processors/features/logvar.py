"""The log-variance stage: how strongly each channel moves within a window."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.config.stages import LogVarianceSettings
from neuroloop.processors.numerics.elementary import TINY, log
from neuroloop.processors.stages.input_guard import (
    FIRST_ROW,
    FLAGS,
    LAST_BAD,
    ROWS,
    VALUES,
    hold_row,
    load_state,
    wrong_channels,
)
from neuroloop.processors.stages.window_grid import RowCounter, WindowGrid
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk


@kernel(
    void(
        *(ROWS, FLAGS, VALUES, int64, int64, float64[::1], float64[:, ::1], float64[::1], int64[::1]),
        *(float64[:, ::1], float64[::1], boolean[::1]),
    )
)
def _log_variance_into(
    x: FloatArray,
    valid: BoolArray,
    timestamps: FloatArray,
    first: int,
    hop: int,
    held: FloatArray,
    ring: FloatArray,
    mean: FloatArray,
    marks: NDArray[np.int64],
    out: FloatArray,
    timestamps_out: FloatArray,
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
            timestamps_out[written] = timestamps[i]
            valid_out[written] = marks[LAST_BAD] < begin
            written += 1


class LogVariance:
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
        self.grid = WindowGrid.from_settings(settings, info.sfreq)
        self.name = settings.name
        self.info_in = info
        self.info_out = dataclasses.replace(
            info,
            sfreq=info.sfreq / self.grid.hop,
            ch_units=tuple(f"log({unit}^2)" if unit else "" for unit in info.ch_units),
        )
        self.delay_s = self.grid.delay_s(info.sfreq)
        self.warmup_samples = self.grid.window - 1
        self._held = np.zeros(info.n_channels)
        self._mean = np.zeros(info.n_channels)
        self._ring = np.zeros((self.grid.window, info.n_channels))
        self._rows = RowCounter(settings.name, self.grid)

    def newest_input(self, k: int) -> int:
        """Return the last input row of window ``k``."""
        return self.grid.newest_input(k)

    def process(self, chunk: Chunk) -> Chunk:
        """Return the rows that the chunk completes; new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        data, first = chunk.data, chunk.first_sample
        n_rows, n_channels = data.shape
        if n_channels != len(self._held):
            raise wrong_channels(self.name, len(self._held), n_channels)
        row, count = self._rows.plan(first, n_rows)
        out = np.empty((count, n_channels))
        timestamps, valid = np.empty(count), np.empty(count, np.bool_)
        if n_rows:
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            _log_variance_into(
                data,
                chunk.valid,
                chunk.timestamps,
                first,
                self.grid.hop,
                self._held,
                self._ring,
                self._mean,
                self._rows.marks,
                out,
                timestamps,
                valid,
            )
            self._rows.advance(first + n_rows)
        return make_chunk(out, timestamps, row, valid, self.info_out)

    def reset(self) -> None:
        """Forget all samples seen."""
        self._held[:] = 0.0
        self._ring[:] = 0.0
        self._rows.reset()

    def get_state(self) -> StateDict:
        """Return the ring of rows (row ``g`` at ``g % window``), the held values and the position."""
        return {"ring": self._ring.copy(), **self.other_state()}

    @property
    def refill_rows(self) -> int:
        """Input rows after which the ring depends on nothing before them."""
        return self.grid.window + self.grid.hop

    def window_arrays(self) -> StateDict:
        """Return a view of the ring of rows."""
        return {"ring": self._ring}

    def other_state(self) -> StateDict:
        """Return the held values and the position."""
        return {"held": self._held.copy(), "position": self._rows.get()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a stage.
        """
        own = self.get_state()
        load_state(state, own)
        self._ring[:] = own["ring"]
        self._held[:] = own["held"]
        self._rows.set(own["position"])

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the window and the hop in samples."""
        return {"grid": np.array([self.grid.window, self.grid.hop])}
