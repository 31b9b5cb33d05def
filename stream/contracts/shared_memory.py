"""What readers of another process see of rings and counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import Chunk


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Consecutive rows that a reader took out of a sample ring.

    Parameters
    ----------
    chunk : Chunk
        New arrays, owned by the caller; may be empty. Where the sample number jumped the rows end, and the next ones
        begin behind the jump.
    arrival_ns : array, shape (n_samples,), int64
        ``time.perf_counter_ns()`` at which each row reached the writer (0 where it did not say).
    n_lost : int
        Rows that were overwritten before this reader came, right before the first row.
    """

    chunk: Chunk
    arrival_ns: NDArray[np.int64]
    n_lost: int


@dataclass(frozen=True, slots=True)
class EventRecords:
    """Consecutive records that a reader took out of an event ring.

    Parameters
    ----------
    records : list of bytes
    first_sequence : int
        Sequence number of the first record (of the next one where there is none).
    n_lost : int
        Records that were overwritten before this reader came, right before the first one.
    """

    records: list[bytes]
    first_sequence: int
    n_lost: int


LATENCY_BOUNDS_S = tuple(1e-5 * 2**step for step in range(17))
"""Upper bounds of the buckets of every latency: 10 us to 0.66 s; one more bucket takes what lies above."""


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """One named array of a counter block.

    Parameters
    ----------
    name : str
    kind : str
        ``count`` (int64), ``value`` (float64) or ``histogram`` (int64 per bucket and a float64 sum).
    size : int
        Number of slots of a count or a value, for instance one per class.
    bounds : tuple of float
        Upper bounds of a histogram's buckets, ascending; one more bucket takes what lies above.
    """

    name: str
    kind: Literal["count", "value", "histogram"]
    size: int = 1
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment.

    Parameters
    ----------
    bounds : tuple of float
    buckets : array, shape (len(bounds) + 1,), int64
        Observations per bucket, not cumulated.
    total : float
        Sum of the observations; may be one observation ahead of the buckets or behind them.
    """

    bounds: tuple[float, ...]
    buckets: NDArray[np.int64]
    total: float


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """All counters at about one moment; new arrays.

    Parameters
    ----------
    numbers : dict of str to array, shape (size,)
        Counts (int64) and values (float64) by name.
    histograms : dict of str to HistogramSnapshot
    """

    numbers: dict[str, NDArray[Any]]
    histograms: dict[str, HistogramSnapshot]


@runtime_checkable
class Counters(Protocol):
    """What the hot loop counts, as others may read it at any time."""

    @property
    def specs(self) -> tuple[CounterSpec, ...]:
        """The named arrays, in order."""
        ...

    def snapshot(self) -> CounterSnapshot:
        """Return a copy; every number is whole, numbers may be one update apart."""
        ...
