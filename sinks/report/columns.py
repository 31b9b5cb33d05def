"""Many values into the few columns of a picture, so that its size does not grow with the run's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Band:
    """Smallest, largest and mean value in each column that has one.

    Parameters
    ----------
    column : array, shape (n,), int64
        Ascending.
    low, high, mean : array, shape (n,), float64
    n_values : int
        How many values there are in all columns.
    """

    column: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    n_values: int

    @property
    def is_crowded(self) -> bool:
        """Whether extremes alone would fill the picture: more than three values in a column, in the middle."""
        return self.n_values > 3 * len(self.column)

    def means(self) -> Band:
        """Return the mean of each column as a line."""
        return Band(self.column, self.mean, self.mean, self.mean, len(self.column))


def column_of(position: Numbers, start: float, stop: float, n_columns: int) -> NDArray[np.int64]:
    """Return the column of each position in ``[start, stop)``; those outside get -1 or ``n_columns``."""
    width = max(stop - start, 1e-12)
    return np.clip(np.floor((position - start) / width * n_columns), -1, n_columns).astype(np.int64)


def min_max(position: Numbers, value: Numbers, start: float, stop: float, n_columns: int) -> Band:
    """Return the smallest and largest finite value of each column.

    Parameters
    ----------
    position : array, shape (n,)
        Ascending.
    value : array, shape (n,)
    start, stop : float
        The picture's range.
    n_columns : int
    """
    column = column_of(position, start, stop, n_columns)
    use = np.isfinite(value) & (column >= 0) & (column < n_columns)
    column, value = column[use], value[use]
    if not len(column):
        return Band(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0), 0)
    first = np.flatnonzero(np.diff(column, prepend=-1))
    low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    mean = np.add.reduceat(value, first) / np.diff(first, append=len(value))
    return Band(column[first], low.astype(np.float64), high.astype(np.float64), mean.astype(np.float64), len(value))


def covered(starts: Numbers, stops: Numbers, start: float, stop: float, n_columns: int) -> list[tuple[int, int]]:
    """Return the runs ``[first, last]`` of columns that any stretch touches; at most ``n_columns / 2`` of them."""
    if not len(starts):
        return []
    first = column_of(np.asarray(starts), start, stop, n_columns)
    last = column_of(np.maximum(np.asarray(stops) - 1e-9, starts), start, stop, n_columns)
    use = (last >= 0) & (first < n_columns)
    depth = np.zeros(n_columns + 1, np.int64)
    np.add.at(depth, np.clip(first[use], 0, n_columns - 1), 1)
    np.add.at(depth, np.clip(last[use], 0, n_columns - 1) + 1, -1)
    edges = np.diff((np.cumsum(depth[:-1]) > 0).astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges > 0).tolist(), (np.flatnonzero(edges < 0) - 1).tolist(), strict=True))


def dominant(starts: Numbers, kinds: Numbers, end: float, start: float, stop: float, n: int) -> list[tuple[int, int]]:
    """Return runs ``(first column, kind)`` of what holds longest in each column.

    Parameters
    ----------
    starts : array, shape (n_changes,)
        Ascending; from each on its kind holds until the next.
    kinds : array, shape (n_changes,), int
        From 0 on.
    end : float
        Where the last kind ends.
    start, stop : float
        The picture's range.
    n : int
        Number of columns.

    Returns
    -------
    list of (int, int)
        In order; kind -1 where nothing holds.
    """
    edges = start + (stop - start) * np.arange(n + 1) / n
    ends = np.append(starts[1:], end) if len(starts) else np.empty(0)
    held = np.zeros((n, int(kinds.max()) + 1 if len(kinds) else 1))
    for kind in np.unique(kinds):
        mine = kinds == kind
        begin, lengths = starts[mine].astype(np.float64), (ends - starts)[mine].astype(np.float64)
        total = np.append(0.0, np.cumsum(np.maximum(lengths, 0.0)))
        before = np.searchsorted(begin, edges, side="right")
        inside = np.where(
            before > 0,
            total[np.maximum(before - 1, 0)]
            + np.minimum(edges - begin[np.maximum(before - 1, 0)], np.maximum(lengths, 0.0)[np.maximum(before - 1, 0)]),
            0.0,
        )
        held[:, int(kind)] = np.diff(inside)
    best = np.where(held.max(axis=1) > 1e-12, held.argmax(axis=1), -1)
    change = np.flatnonzero(np.diff(best, prepend=-2))
    return [(int(column), int(best[column])) for column in change]
