"""Latency histograms: fixed arrays that the loop adds to, percentiles read afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import direct, kernel

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS
N_BUCKETS = _SUB * 40
"""Up to 2**45 ns, about ten hours; a bucket is at most 1/64 (1.6 %) wide."""
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def bucket_of(nanoseconds: int) -> int:
    """Return the bucket of a duration: exact below 64 ns, then 64 buckets an octave."""
    if nanoseconds < _SUB:
        return max(nanoseconds, 0)
    shift = nanoseconds.bit_length() - _SUB_BITS - 1
    return min((shift + 1 << _SUB_BITS) + (nanoseconds >> shift) - _SUB, N_BUCKETS - 1)


def bucket_upper(bucket: int) -> int:
    """Return the largest duration in nanoseconds that falls into the bucket."""
    if bucket < _SUB:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    return ((_SUB + (bucket & (_SUB - 1)) + 1) << shift) - 1


@kernel(void(int64[::1], int64[::1], int64, int64[:, ::1], int64[::1]))
def _count(
    rows: NDArray[np.int64],
    durations: NDArray[np.int64],
    n: int,
    counts: NDArray[np.int64],
    largest: NDArray[np.int64],
) -> None:
    """Count durations in the buckets that `bucket_of` gives."""
    for i in range(n):
        row, duration = rows[i], max(durations[i], 0)
        bucket = duration
        if duration >= _SUB:
            shift = 0
            while (duration >> shift) >= 2 * _SUB:
                shift += 1
            bucket = min(((shift + 1) << _SUB_BITS) + (duration >> shift) - _SUB, N_BUCKETS - 1)
        counts[row, bucket] += 1
        largest[row] = max(largest[row], duration)


_count_directly = direct(_count)


class LatencyTable:
    """One histogram per row; rows are stages or other parts of the loop.

    Parameters
    ----------
    rows : sequence of str
        Names of the rows.
    counts : array, shape (n_rows, N_BUCKETS), int64, optional
        Where to count, such as an array in shared memory; made here otherwise.
    largest : array, shape (n_rows,), int64, optional
        Where to keep the largest durations.
    """

    def __init__(
        self,
        rows: Sequence[str],
        counts: NDArray[np.int64] | None = None,
        largest: NDArray[np.int64] | None = None,
    ) -> None:
        self.rows = tuple(rows)
        shape = (len(self.rows), N_BUCKETS)
        if counts is None:
            counts = np.zeros(shape, dtype=np.int64)
        if counts.shape != shape:
            raise ValueError(f"counts must have shape {shape}, got {counts.shape}")
        self.counts = counts
        self.largest = np.zeros(len(self.rows), dtype=np.int64) if largest is None else largest

    def add(self, row: int, nanoseconds: int) -> None:
        """Count one duration (0.5 us; where many come at once, `DurationLog` is cheaper)."""
        self.counts[row, bucket_of(nanoseconds)] += 1
        if nanoseconds > self.largest[row]:
            self.largest[row] = nanoseconds

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return n and p50, p95, p99, p99.9 and max in microseconds, by row; rows without a count are left out."""
        return {
            name: summarise(self.counts[index], int(self.largest[index]))
            for index, name in enumerate(self.rows)
            if self.counts[index].any()
        }


class DurationLog:
    """Durations that are noted where they arise and counted where there is time.

    To note one costs 0.1 us, to count all of a loop's turn 0.5.

    Parameters
    ----------
    table : LatencyTable
        Where they are counted.
    first_row : int
        Row of the table that is row 0 here.
    capacity : int
        How many are held; a full log counts by itself.
    """

    def __init__(self, table: LatencyTable, *, first_row: int = 0, capacity: int = 64) -> None:
        self._table = table
        self._first_row = first_row
        self._capacity = capacity
        self._n = 0
        self._rows = np.zeros(capacity, np.int64)
        self._durations = np.zeros(capacity, np.int64)
        self._row_cells, self._duration_cells = self._rows.data, self._durations.data

    def add(self, row: int, nanoseconds: int) -> None:
        """Note one duration."""
        n = self._n
        if n == self._capacity:
            self.flush()
            n = 0
        self._row_cells[n] = row + self._first_row
        self._duration_cells[n] = nanoseconds
        self._n = n + 1

    def flush(self) -> None:
        """Count everything noted."""
        if self._n:
            _count_directly(self._rows, self._durations, self._n, self._table.counts, self._table.largest)
            self._n = 0


def summarise(counts: NDArray[np.int64], largest_ns: int) -> dict[str, Any]:
    """Return n and the percentiles of one histogram in microseconds (upper edge of the bucket, at most the maximum)."""
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    result: dict[str, Any] = {"n": total}
    for percentile in PERCENTILES:
        rank = max(1, int(np.ceil(percentile / 100 * total)))
        edge = bucket_upper(int(np.searchsorted(cumulative, rank)))
        result[f"p{percentile:g}_us"] = min(edge, largest_ns) / 1000
    result["max_us"] = largest_ns / 1000
    return result
