"""Histograms of magnitudes with exact bounds: medians of long streams without keeping them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

_MANTISSA_BITS = 52
_LOWEST_EXPONENT = 1023 - 50
"""Of 2**-50, about 1e-15; smaller values, 0 included, count as 0."""
_N_OCTAVES = 100


class Histogram:
    """Count magnitudes per channel, in ``2**bits`` buckets an octave from 1e-15 to 1e15.

    Parameters
    ----------
    n_channels : int
    bits : int
        A quantile is right to ``2**-(bits + 1)``: 1.6 % with 5, 0.05 % with 10.
    """

    def __init__(self, n_channels: int, bits: int) -> None:
        self._shift = _MANTISSA_BITS - bits
        self._lowest = _LOWEST_EXPONENT << bits
        self._n_buckets = (_N_OCTAVES << bits) + 2
        self._counts = np.zeros((n_channels, self._n_buckets), np.uint32)
        self._channels = np.arange(n_channels)
        self._lowest_value = np.full(n_channels, np.inf)
        self._highest_value = np.full(n_channels, -np.inf)

    def add_row(self, values: FloatArray, chosen: BoolArray) -> None:
        """Add one value per chosen channel."""
        taken = values[chosen]
        self._counts[self._channels[chosen], self._buckets(taken)] += np.uint32(1)
        self._lowest_value[chosen] = np.minimum(self._lowest_value[chosen], taken)
        self._highest_value[chosen] = np.maximum(self._highest_value[chosen], taken)

    def add_column(self, values: FloatArray) -> None:
        """Add values to the first channel; those that are NaN are left out."""
        taken = values[~np.isnan(values)]
        np.add.at(self._counts[0], self._buckets(taken), np.uint32(1))
        self._lowest_value[0] = taken.min(initial=self._lowest_value[0])
        self._highest_value[0] = taken.max(initial=self._highest_value[0])

    def count(self, channel: int) -> int:
        """Return how many values a channel has."""
        return int(self._counts[channel].sum(dtype=np.int64))

    def quantile(self, channel: int, share: float) -> float | None:
        """Return the middle of the bucket that holds a quantile, None without values.

        Never below the smallest value or above the largest one.

        Parameters
        ----------
        channel : int
        share : float
            0.5 for the median.
        """
        total = self.count(channel)
        if total == 0:
            return None
        reached = np.cumsum(self._counts[channel], dtype=np.int64) >= max(1, round(share * total))
        bucket = int(reached.argmax())
        if bucket == 0:
            return 0.0
        edges = (np.array([bucket - 1, bucket]) + self._lowest) << self._shift
        low, high = edges.view(np.float64)
        return float(min(max(0.5 * (low + high), self._lowest_value[channel]), self._highest_value[channel]))

    def _buckets(self, values: FloatArray) -> NDArray[np.int64]:
        """Return the bucket of each magnitude: its exponent and the first bits of its mantissa."""
        bits: NDArray[np.int64] = np.ascontiguousarray(values).view(np.int64) >> self._shift
        np.clip(bits - self._lowest + 1, 0, self._n_buckets - 1, out=bits)
        return bits
