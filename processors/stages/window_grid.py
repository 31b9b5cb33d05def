"""Where windows lie: closed forms of the global sample index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import Windowed
from neuroloop.processors.stages.input_guard import FIRST_ROW, LAST_BAD, Cursor
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StreamInfo, empty_chunk

LONGEST = 1 << 24
"""Samples of a window or hop: over two hours at 2 kHz; more is a mistake, and its tables would fill the memory."""


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Window ``k`` covers the input rows ``k * hop`` to ``k * hop + window - 1`` of the global index."""

    window: int
    hop: int

    @classmethod
    def from_settings(cls, settings: Windowed, sfreq: float) -> WindowGrid:
        """Turn seconds into samples, once, by ``round``.

        Raises
        ------
        ConfigError
            If the stream is irregular and seconds are given, or a length becomes 0 samples.
        """
        lengths = []
        for label in ("window", "hop"):
            in_s, n_samples = getattr(settings, f"{label}_s"), getattr(settings, f"{label}_samples")
            if in_s is not None:
                if not sfreq > 0.0:
                    raise ConfigError(f"{label}_s must be given in samples for an irregular stream, got {in_s!r}")
                n_samples = round(in_s * sfreq)
                if n_samples == 0:
                    raise ConfigError(f"{label}_s must be at least one sample at sfreq={sfreq:g}, got {in_s!r}")
            if n_samples > LONGEST:
                field = "samples" if in_s is None else "s"
                got = n_samples if in_s is None else in_s
                raise ConfigError(f"{label}_{field} must be at most {LONGEST} samples, got {got!r}")
            lengths.append(n_samples)
        return cls(*lengths)

    def first_row(self, start: int) -> int:
        """Return the first window that begins at or after a global input row."""
        return -(-start // self.hop)

    def next_row(self, next_sample: int) -> int:
        """Return the first window whose last row is ``next_sample`` or later; at least 0."""
        return max(0, -((self.window - 1 - next_sample) // self.hop))

    def newest_input(self, k: int) -> int:
        """Return the last row of window ``k``."""
        return k * self.hop + self.window - 1

    def delay_s(self, sfreq: float) -> float:
        """Return half a window's span in seconds; 0 for an irregular stream."""
        return round((self.window - 1) / 2 / sfreq, 9) if sfreq > 0.0 else 0.0


class RowCounter:
    """How many rows a chunk completes, and where their numbering stands."""

    __slots__ = ("_cursor", "_grid", "_hop", "_window", "marks")

    def __init__(self, name: str, grid: WindowGrid) -> None:
        self._cursor = Cursor(name)
        self._grid = grid
        self._window, self._hop = grid.window, grid.hop
        self.marks = np.zeros(2, np.int64)

    def plan(self, first_sample: int, n_rows: int) -> tuple[int, int]:
        """Return the next output row and how many the chunk completes, without moving on.

        Raises
        ------
        ValueError
            If the chunk has rows and does not continue the one before.
        """
        cursor = self._cursor
        position = cursor.next_sample
        if n_rows and first_sample != position:
            cursor.start(first_sample)
        if position < 0:
            row = self._grid.first_row(first_sample)
            if n_rows:
                self.marks[FIRST_ROW] = row
                self.marks[LAST_BAD] = -1
            position = first_sample
        else:
            row = -((self._window - 1 - position) // self._hop)
            if row < self.marks[FIRST_ROW]:
                row = int(self.marks[FIRST_ROW])
        count = (position + n_rows - self._window) // self._hop + 1 - row
        return row, count if count > 0 else 0

    def advance(self, next_sample: int) -> None:
        """Move on to a global input row."""
        self._cursor.next_sample = next_sample

    def reset(self) -> None:
        """Forget the position."""
        self.marks[:] = 0
        self._cursor.next_sample = -1

    def get(self) -> NDArray[np.int64]:
        """Return the position as an array."""
        return np.array([self._cursor.next_sample, self.marks[FIRST_ROW], self.marks[LAST_BAD]])

    def set(self, position: NDArray[np.int64]) -> None:
        """Continue from what `get` returned."""
        self._cursor.next_sample = int(position[0])
        self.marks[:] = position[1:]


def no_rows(info: StreamInfo) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return read-only data, stamps and flags of no row, which all empty results of a stage share."""
    empty = empty_chunk(info)
    return empty.data, empty.timestamps, empty.valid
