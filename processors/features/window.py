"""The window stage: an output row is a whole window, flattened time-major."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.config.stages import WindowSettings
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
        *(ROWS, FLAGS, VALUES, int64, int64, float64[::1], float64[:, ::1], int64[::1]),
        *(float64[:, ::1], float64[::1], boolean[::1]),
    )
)
def _cut_into(
    x: FloatArray,
    valid: BoolArray,
    timestamps: FloatArray,
    first: int,
    hop: int,
    held: FloatArray,
    ring: FloatArray,
    marks: NDArray[np.int64],
    out: FloatArray,
    timestamps_out: FloatArray,
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
            timestamps_out[written] = timestamps[i]
            valid_out[written] = marks[LAST_BAD] < begin
            written += 1


class Window:
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
        self.grid = WindowGrid.from_settings(settings, info.sfreq)
        window, hop = self.grid.window, self.grid.hop
        self.name = settings.name
        self.info_in = info
        self.info_out = dataclasses.replace(
            info,
            sfreq=info.sfreq / hop,
            ch_names=tuple(f"t{t}:{name}" for t in range(window) for name in info.ch_names),
            ch_types=info.ch_types * window,
            ch_units=info.ch_units * window,
        )
        self.delay_s = self.grid.delay_s(info.sfreq)
        self.warmup_samples = window - 1
        self._held = np.zeros(info.n_channels)
        self._ring = np.zeros((window, info.n_channels))
        self._rows = RowCounter(settings.name, self.grid)
        self._n_columns = self.info_out.n_channels

    def newest_input(self, k: int) -> int:
        """Return the last input row of window ``k``."""
        return self.grid.newest_input(k)

    def process(self, chunk: Chunk) -> Chunk:
        """Return the windows that the chunk completes; new and owned by the caller.

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
        out = np.empty((count, self._n_columns))
        timestamps, valid = np.empty(count), np.empty(count, np.bool_)
        if n_rows:
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            _cut_into(
                data,
                chunk.valid,
                chunk.timestamps,
                first,
                self.grid.hop,
                self._held,
                self._ring,
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
