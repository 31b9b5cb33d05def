"""Latency histograms: fixed arrays that the loop adds to, percentiles read afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        """Count one duration."""
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
