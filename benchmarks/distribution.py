"""Two distributions of latencies beside each other: percentiles, their ratio, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_N_RESAMPLES = 1000
_N_BINS = 4096
_LOW_US, _HIGH_US = 1.0, 1e6


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles in microseconds."""

    p50_us: float
    p99_us: float
    p999_us: float

    def __str__(self) -> str:
        return f"{self.p50_us:.0f} / {self.p99_us:.0f} / {self.p999_us:.0f}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over the peer's, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One line of a table of latencies; ``ratio`` is ours over the peer's, absent where there is no peer."""

    topic: str
    case: str
    n_segments: int
    n_samples: int
    ours: Percentiles
    peer: str
    theirs: Percentiles | None
    ratio_p50: Ratio | None
    ratio_p99: Ratio | None
    note: str = ""

    def __str__(self) -> str:
        beside = f" | {self.peer} {self.theirs} us" if self.theirs else ""
        ratios = f" | p50 {self.ratio_p50} | p99 {self.ratio_p99}" if self.ratio_p50 else ""
        return f"{self.topic} | {self.case} | {self.ours} us{beside}{ratios} | {self.note}"


def percentiles(latencies_ns: Sequence[NDArray[np.int64]]) -> Percentiles:
    """Pool the segments."""
    p50, p99, p999 = np.percentile(np.concatenate(latencies_ns), (50, 99, 99.9)) / 1e3
    return Percentiles(float(p50), float(p99), float(p999))


def compare_latencies(
    topic: str,
    case: str,
    ours_ns: Sequence[NDArray[np.int64]],
    peer: str,
    theirs_ns: Sequence[NDArray[np.int64]],
    *,
    note: str = "",
) -> LatencyRow:
    """Compare segments that were taken in turns.

    The percentiles are those of all segments together. The intervals come from drawing pairs of segments with
    replacement, so that they hold what a machine does from one second to the next, not only from sample to sample.

    Parameters
    ----------
    topic, case, peer : str
        What the row says.
    ours_ns, theirs_ns : sequence of array, shape (n_samples,), int64
        One array a segment; segment ``i`` of both was taken one after the other.
    note : str
    """
    ours, theirs = percentiles(ours_ns), percentiles(theirs_ns)
    a, b = _histograms(ours_ns), _histograms(theirs_ns)
    draws = np.random.default_rng(11).integers(0, len(a), (_N_RESAMPLES, len(a)))
    ratios = []
    for share, value in ((0.5, ours.p50_us / theirs.p50_us), (0.99, ours.p99_us / theirs.p99_us)):
        drawn = [_quantile(a[draw].sum(axis=0), share) / _quantile(b[draw].sum(axis=0), share) for draw in draws]
        low, high = np.percentile(drawn, (2.5, 97.5))
        ratios.append(Ratio(value, float(low), float(high)))
    n_samples = sum(map(len, ours_ns))
    return LatencyRow(topic, case, len(ours_ns), n_samples, ours, peer, theirs, ratios[0], ratios[1], note)


def _edges() -> NDArray[np.float64]:
    return np.geomspace(_LOW_US, _HIGH_US, _N_BINS + 1)


def _histograms(latencies_ns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Count each segment in bins 0.34 % wide."""
    edges = _edges()
    return np.array([np.histogram(np.clip(part / 1e3, _LOW_US, _HIGH_US), edges)[0] for part in latencies_ns])


def _quantile(counts: NDArray[np.int64], share: float) -> float:
    """Return a quantile, on a straight line within its bin."""
    cumulative = np.concatenate(([0], np.cumsum(counts)))
    return float(np.interp(share * cumulative[-1], cumulative, _edges()))
