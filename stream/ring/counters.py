"""Counters in shared memory: plain adds by one process, copies taken by any other.

Every number is an aligned 8-byte word, so a copy never holds a torn one. The writer takes no lock, so a copy may hold
one number before and another after the same event: rates and buckets are right, sums across numbers are right up to
what was being added at that moment. A block has one writer; two processes that add to one number would lose counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.contracts.shared_memory import CounterSnapshot, CounterSpec, HistogramSnapshot
from neuroloop.stream.ring.segment import Segment, aligned


class Histogram:
    """The writer's end of one histogram.

    Parameters
    ----------
    bounds : tuple of float
    buckets : array, shape (len(bounds) + 1,), int64
    total : array, shape (1,), float64
    """

    def __init__(self, bounds: tuple[float, ...], buckets: NDArray[np.int64], total: FloatArray) -> None:
        self.bounds = bounds
        self.buckets = buckets
        self.total = total

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound it does not exceed; NaN in the last, not in the sum."""
        if value != value:  # noqa: PLR0124 (0.02 us, math.isnan takes 0.05)
            self.buckets[-1] += 1
            return
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total[0] += value


class CounterBlock:
    """Named counts, values and histograms; make it with `private` or `shared`.

    A block may be an argument of a spawned ``Process``: the child gets the same memory.

    Parameters
    ----------
    segment : Segment
        At least `n_bytes` long, zeroed before the first use.
    specs : tuple of CounterSpec
    """

    def __init__(self, segment: Segment, specs: tuple[CounterSpec, ...]) -> None:
        self._specs = specs
        self._segment = segment
        self._numbers: dict[str, NDArray[Any]] = {}
        self._histograms: dict[str, Histogram] = {}
        offset = 0
        for spec in specs:
            if spec.kind == "histogram":
                n_buckets = len(spec.bounds) + 1
                buckets = segment.array(offset, (n_buckets,), np.int64)
                offset += aligned(8 * n_buckets)
                self._histograms[spec.name] = Histogram(spec.bounds, buckets, segment.array(offset, (1,), np.float64))
                offset += aligned(8)
            else:
                dtype = np.int64 if spec.kind == "count" else np.float64
                self._numbers[spec.name] = segment.array(offset, (spec.size,), dtype)
                offset += aligned(8 * spec.size)

    @classmethod
    def private(cls, specs: Iterable[CounterSpec]) -> CounterBlock:
        """Make a block in this process's own memory.

        Raises
        ------
        ValueError
            If a name comes twice, a size is below 1 or bounds do not ascend.
        """
        checked = tuple(specs)
        return cls(Segment.private(cls.n_bytes(checked)), checked)

    @classmethod
    def shared(cls, specs: Iterable[CounterSpec], *, name: str = "counters") -> CounterBlock:
        """Make a block that spawned processes can be handed (Linux).

        Raises
        ------
        ValueError
            If a name comes twice, a size is below 1 or bounds do not ascend.
        SharedMemoryError
            If the memory is not there.
        """
        checked = tuple(specs)
        return cls(Segment.shared(cls.n_bytes(checked), name), checked)

    @staticmethod
    def n_bytes(specs: tuple[CounterSpec, ...]) -> int:
        """Return the memory that these arrays take, each on cache lines of its own.

        Raises
        ------
        ValueError
            If a name comes twice, a size is below 1 or bounds do not ascend.
        """
        names = [spec.name for spec in specs]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"specs must have distinct names and at least one, got {names!r}")
        total = 0
        for spec in specs:
            if spec.kind == "histogram":
                if not spec.bounds or any(
                    not low < high for low, high in zip(spec.bounds, spec.bounds[1:], strict=False)
                ):
                    raise ValueError(f"{spec.name}.bounds must ascend and have at least one, got {spec.bounds!r}")
                total += aligned(8 * (len(spec.bounds) + 1)) + aligned(8)
            else:
                if spec.size < 1:
                    raise ValueError(f"{spec.name}.size must be at least 1, got {spec.size!r}")
                total += aligned(8 * spec.size)
        return total

    def __reduce__(self) -> tuple[Any, ...]:
        return CounterBlock, (self._segment, self._specs)

    @property
    def specs(self) -> tuple[CounterSpec, ...]:
        """The named arrays, in order."""
        return self._specs

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a count (int64) or a value (float64) for its writer: the array itself, shape (size,).

        Raises
        ------
        KeyError
            If there is no count or value of this name.
        """
        return self._numbers[name]

    def histogram(self, name: str) -> Histogram:
        """Return a histogram for its writer.

        Raises
        ------
        KeyError
            If there is no histogram of this name.
        """
        return self._histograms[name]

    def snapshot(self) -> CounterSnapshot:
        """Return a copy; every number is whole, numbers may be one update apart."""
        return CounterSnapshot(
            {name: numbers.copy() for name, numbers in self._numbers.items()},
            {
                name: HistogramSnapshot(histogram.bounds, histogram.buckets.copy(), float(histogram.total[0]))
                for name, histogram in self._histograms.items()
            },
        )

    def close(self) -> None:
        """Give the memory back; arrays still in use stay readable and keep it until they go."""
        self._numbers.clear()
        self._histograms.clear()
        self._segment.close()

    def __enter__(self) -> CounterBlock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
