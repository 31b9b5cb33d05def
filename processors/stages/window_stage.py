"""The base of stages that give one output row for each window of input rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.processors.stages.input_guard import (
    BOOL,
    FIRST_ROW,
    FLOAT64,
    LAST_BAD,
    held_rows,
    plain_chunk,
    refuse_start,
    wrong_channels,
)
from neuroloop.processors.stages.stage_base import StageBase
from neuroloop.processors.stages.window_grid import WindowGrid
from neuroloop.stream.contracts.chunks import (
    BoolArray,
    Chunk,
    FloatArray,
    StateDict,
    StreamInfo,
    empty_chunk,
    make_chunk,
)


class WindowStage(StageBase):
    """Give one output row for each window of input rows; a subclass says how, in `_compute`.

    Row ``k`` is made of the input rows ``k * hop`` to ``k * hop + window - 1`` of the global index, stamped as the
    newest of them and flagged when one of them is. The base checks that chunks continue one another, replaces a value
    that is not finite by its channel's last good one and flags its row, keeps the window's rows, numbers and stamps
    what comes out, and saves, restores and resets all of it.

    Parameters
    ----------
    name : str
        Of the settings.
    info : StreamInfo
        The stream that comes in.
    info_out : StreamInfo
        The stream that goes out; its rate is ``info.sfreq / grid.hop``.
    grid : WindowGrid
        Where windows lie, as `WindowGrid.from_settings` makes it of settings.
    state : mapping of str to array, optional
        What the stage remembers from window to window, changed in place; `reset` makes the arrays again what they are
        now.
    window_arrays : mapping of str to array, optional
        For a stage that defines `_run`: what it keeps of the input's last `refill_rows` rows and nothing before, large
        arrays that a snapshot may leave out. By default the base keeps the window's rows, as ``ring``.

    Raises
    ------
    TypeError
        If what is kept is no array, or neither `_compute` nor `_run` is defined.
    ValueError
        If an array has the name of one of the base's own.

    Notes
    -----
    The output must be the same, bit for bit, however the rows were cut: `_compute` sees whole windows only. What is
    finite comes in, and what is finite must go out.

    Examples
    --------
    Each channel's range within a window:

    >>> class Range(WindowStage):
    ...     def __init__(self, settings, info):
    ...         grid = WindowGrid.from_settings(settings, info.sfreq)
    ...         info_out = dataclasses.replace(info, sfreq=info.sfreq / grid.hop)
    ...         super().__init__(settings.name, info, info_out=info_out, grid=grid)
    ...
    ...     def _compute(self, window, out):
    ...         np.subtract(window.max(axis=0), window.min(axis=0), out=out)
    """

    def __init__(
        self,
        name: str,
        info: StreamInfo,
        *,
        info_out: StreamInfo,
        grid: WindowGrid,
        state: Mapping[str, NDArray[Any]] | None = None,
        window_arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        if type(self)._run is WindowStage._run and type(self)._compute is WindowStage._compute:
            raise TypeError(f"class {type(self).__name__} must define _compute, or _run, got neither")
        if window_arrays is None:
            window_arrays = {"ring": np.zeros((grid.window, info.n_channels))}
        taken = {"held", *window_arrays}.intersection(state or {}) or {"held"}.intersection(window_arrays)
        if taken:
            raise ValueError(f"state must have no key {min(taken)!r}, the base's own, got {sorted(state or {})}")
        self.grid = grid
        self._window_arrays = dict(window_arrays)
        self._held = np.zeros(info.n_channels)
        self._window, self._hop = grid.window, grid.hop
        super().__init__(
            name,
            info,
            info_out,
            delay_s=grid.delay_s(info.sfreq),
            warmup_samples=grid.window - 1,
            arrays={**window_arrays, **(state or {}), "held": self._held},
            marks=np.zeros(2, np.int64),
        )
        self._empty = empty_chunk(info_out)

    @property
    def refill_rows(self) -> int:
        """Input rows after which what is in hand depends on nothing before them."""
        return self._window + self._hop

    def newest_input(self, k: int) -> int:
        """Return the last input row of window ``k``."""
        return self.grid.newest_input(k)

    def process(self, chunk: Chunk) -> Chunk:
        """Return the rows that the chunk completes; new and owned by the caller, or the empty chunk that all share.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        TypeError
            If its rows are not float64.
        """
        data, flags, first = chunk.data, chunk.valid, chunk.first_sample
        n_rows, n_channels = data.shape
        if n_channels != self._n_channels:
            raise wrong_channels(self.name, self._n_channels, n_channels)
        if n_rows and not (  # in place in both bases: a call would take 0.1 us
            data.dtype is FLOAT64
            and flags.dtype is BOOL
            and flags.shape == (n_rows,)
            and data.flags.c_contiguous
            and flags.flags.c_contiguous
        ):
            chunk = plain_chunk(self.name, chunk)
        row, count = self._plan(first, n_rows)
        empty = self._empty
        if count:
            out, valid = np.empty((count, self._n_columns)), np.empty(count, BOOL)
        else:
            out, valid = empty.data, empty.valid
        if n_rows:
            self._run(chunk, row, out, valid)
            self._next_sample = first + n_rows
        if count:
            newest = row * self._hop + self._window - 1 - first
            return make_chunk(out, chunk.timestamps[newest :: self._hop].copy(), row, valid, self.info_out)
        if empty.first_sample != row:  # made once per row, 0.5 us less for each sample between two rows
            empty = self._empty = Chunk(out, empty.timestamps, row, valid, self.info_out)
        return empty

    def window_arrays(self) -> StateDict:
        """Return views of what is in hand, under the names that it has in the state."""
        return dict(self._window_arrays)

    def other_state(self) -> StateDict:
        """Return the state without it, as new arrays."""
        kept = {key: array.copy() for key, array in self._arrays.items() if key not in self._window_arrays}
        return {**kept, "position": self._position()}

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the window and the hop in samples."""
        return {"grid": np.array([self._window, self._hop])}

    def _plan(self, first_sample: int, n_rows: int) -> tuple[int, int]:
        """Return the next output row and how many the chunk completes, without moving on."""
        position = self._next_sample
        if n_rows and (first_sample != position or first_sample < 0):
            refuse_start(self.name, position, first_sample)
        if position < 0:
            row = self.grid.first_row(first_sample)
            if n_rows:
                self._marks[FIRST_ROW] = row
                self._marks[LAST_BAD] = -1
            position = first_sample
        else:
            row = -((self._window - 1 - position) // self._hop)
            if row < self._marks[FIRST_ROW]:
                row = int(self._marks[FIRST_ROW])
        count = (position + n_rows - self._window) // self._hop + 1 - row
        return row, count if count > 0 else 0

    def _run(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        """Take a chunk of at least one row, bad values and all; fill the rows that it completes, and their flags.

        For a stage with a kernel that holds values and keeps ``self._marks`` itself. ``chunk`` has float64 rows and
        flags in C order, as `neuroloop.config.kernels.direct` wants them. ``row`` is the number of the first output
        row; there may be none, and ``out`` and ``valid`` may then not be written to.
        """
        good = np.empty(len(chunk), BOOL)
        data = held_rows(chunk.data, chunk.valid, self._held, good)
        begin = 0
        for i in range(len(out)):
            start = (row + i) * self._hop
            end = start + self._window - chunk.first_sample
            self._push(data[begin:end], good[begin:end], chunk.first_sample + begin)
            ring, oldest = self._window_arrays["ring"], start % self._window
            self._compute(np.concatenate((ring[oldest:], ring[:oldest])), out[i])
            valid[i] = self._marks[LAST_BAD] < start
            begin = end
        self._push(data[begin:], good[begin:], chunk.first_sample + begin)

    def _compute(self, window: FloatArray, out: FloatArray) -> None:
        """Fill one output row.

        Parameters
        ----------
        window : array, shape (window, n_channels)
            The window's rows, the oldest first, finite; a copy.
        out : array, shape (n_channels of ``info_out``,)
            To be filled, every value.
        """
        raise NotImplementedError

    def _push(self, data: FloatArray, good: BoolArray, first: int) -> None:
        """Put rows into the ring, global row ``g`` at ``g % window``."""
        kept = data[-self._window :]
        end = first + len(data)
        self._window_arrays["ring"][np.arange(end - len(kept), end) % self._window] = kept
        bad = np.flatnonzero(~good)
        if bad.size:
            self._marks[LAST_BAD] = first + bad[-1]

    def _position(self) -> NDArray[np.int64]:
        """Return the row to come, the first window since the start and the newest flagged input row."""
        return np.array([self._next_sample, self._marks[FIRST_ROW], self._marks[LAST_BAD]])

    def _set_position(self, position: NDArray[np.int64]) -> None:
        self._next_sample = int(position[0])
        self._marks[:] = position[1:]
