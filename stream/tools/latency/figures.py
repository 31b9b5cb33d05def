"""Figures of one kind of latency: percentiles, spread, and nothing that hides a tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def figures(durations_ns: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
    """Describe durations, exactly: every one is kept, none is binned.

    Parameters
    ----------
    durations_ns : array, shape (n,)

    Returns
    -------
    dict
        ``n``, and in microseconds ``p50_us``, ``p95_us``, ``p99_us``, ``p99.9_us``, ``max_us``, ``min_us``,
        ``mean_us``, ``sd_us``, ``iqr_us`` (p75 - p25) and ``jitter_us`` (p99 - p50). Percentiles are order
        statistics, the smallest value that so large a share does not exceed. Only ``n`` where there is nothing.
    """
    values = np.sort(np.asarray(durations_ns, np.int64)) / 1e3
    n = len(values)
    if not n:
        return {"n": 0}
    at = {share: float(values[-(-round(10 * share) * n // 1000) - 1]) for share in (25.0, 75.0, *PERCENTILES)}
    mean = float(values.sum() / n)
    return {
        "n": n,
        **{f"p{share:g}_us": at[share] for share in PERCENTILES},
        "max_us": float(values[-1]),
        "min_us": float(values[0]),
        "mean_us": mean,
        "sd_us": float(np.sqrt(((values - mean) ** 2).sum() / n)),
        "iqr_us": at[75.0] - at[25.0],
        "jitter_us": at[99.0] - at[50.0],
    }
