"""The clock of files that store no stamps: sample numbers from the rate and the places where recording paused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1e-9, 1e9
"""A file that claims a rate outside of it lies."""
_HIGHEST = 1 << 53
"""Numbers above it have no exact float, so a file that claims them lies."""


@dataclass(frozen=True, eq=False)
class ImpliedClock:
    """Sample numbers and stamps of a file with an implied clock; time 0 is sample number 0.

    Parameters
    ----------
    n_samples : int
    sfreq : float
        In Hz, above 0.
    jumps : sequence of (row, number)
        The rows where a segment begins, in ascending order, and the sample number there; a number below the one that
        continues the segment before is raised to it.
    """

    n_samples: int
    sfreq: float
    jumps: Sequence[tuple[int, int]] = ()

    @cached_property
    def sample_numbers(self) -> NDArray[np.int64]:
        """Sample numbers, shape (n_samples,), strictly ascending."""
        numbers = np.empty(self.n_samples, dtype=np.int64)
        begin, first = 0, 0
        for row, number in [*self.jumps, (self.n_samples, 0)]:
            if begin < row <= self.n_samples:
                numbers[begin:row] = np.arange(first, first + row - begin, dtype=np.int64)
                begin, first = row, max(min(number, _HIGHEST), first + row - begin)
        return numbers

    @cached_property
    def timestamps(self) -> FloatArray:
        """``number / sfreq`` in seconds, shape (n_samples,): one division per sample, nothing accumulates."""
        return self.sample_numbers / self.sfreq

    def time_of_row(self, row: float) -> float:
        """Return the time in seconds of a row, also between rows and outside of the file."""
        if not self.n_samples or row < 0:
            return row / self.sfreq
        inside = int(min(row, self.n_samples - 1))
        return (float(self.sample_numbers[inside]) + (row - inside)) / self.sfreq
