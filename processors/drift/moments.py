"""Rolling mean and standard deviation by block sums: add the newest block, drop the oldest, never subtract.

Block ``b`` covers the rows ``b * hop ... (b + 1) * hop - 1`` of the global index, a window is ``n_blocks`` of them. A
block is summed in float64 about its own first good value, so that neither an offset of 1e9 nor a jump of the signal
costs digits; its mean is kept relative to an anchor (the baseline's mean, or the first block's where there is none
yet). A window is the merge of its blocks, oldest first [1]_. Nothing is ever taken away again, hence no error grows.

References
----------
.. [1] Chan, Golub and LeVeque, The American Statistician 37(3), 242-247, 1983.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.processors.numerics.elementary import TINY, log
from neuroloop.processors.stages.input_guard import FLAGS, LIMIT, ROWS, load_state
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StateDict

_N, _SUM, _SQUARES, _SHIFT, _ANCHOR, _HAS_ANCHOR = range(6)
COUNT, MEAN, M2 = range(3)
STD, LOG_STD = 2, 3


@kernel(void(ROWS, FLAGS, int64, int64, float64[:, ::1], float64[:, :, ::1], int64))
def _add_rows(
    x: FloatArray, valid: BoolArray, start: int, stop: int, sums: FloatArray, ring: FloatArray, slot: int
) -> None:
    """Add rows ``start:stop`` to the open block; close it into ``ring[:, slot]`` where ``slot >= 0``."""
    n_channels = x.shape[1]
    n, total, squares, shift = sums[_N], sums[_SUM], sums[_SQUARES], sums[_SHIFT]
    anchor, has_anchor = sums[_ANCHOR], sums[_HAS_ANCHOR]
    for c in range(n_channels):
        if n[c] == 0.0:
            for i in range(start, stop):
                if valid[i] and abs(x[i, c]) <= LIMIT:
                    shift[c] = x[i, c]
                    break
    i = start
    while i < stop:
        if i + 4 <= stop and valid[i] and valid[i + 1] and valid[i + 2] and valid[i + 3]:
            for c in range(n_channels):  # four rows a pass: a quarter of the traffic, the same order of additions
                s, q, k, v0 = total[c], squares[c], n[c], shift[c]
                x0, x1, x2, x3 = x[i, c], x[i + 1, c], x[i + 2, c], x[i + 3, c]
                g0, g1, g2, g3 = abs(x0) <= LIMIT, abs(x1) <= LIMIT, abs(x2) <= LIMIT, abs(x3) <= LIMIT
                d0 = x0 - v0 if g0 else 0.0
                d1 = x1 - v0 if g1 else 0.0
                d2 = x2 - v0 if g2 else 0.0
                d3 = x3 - v0 if g3 else 0.0
                total[c] = (((s + d0) + d1) + d2) + d3
                squares[c] = (((q + d0 * d0) + d1 * d1) + d2 * d2) + d3 * d3
                n[c] = k + (
                    ((1.0 if g0 else 0.0) + (1.0 if g1 else 0.0)) + ((1.0 if g2 else 0.0) + (1.0 if g3 else 0.0))
                )
            i += 4
            continue
        if valid[i]:
            for c in range(n_channels):
                value = x[i, c]
                good = abs(value) <= LIMIT
                d = value - shift[c] if good else 0.0
                total[c] += d
                squares[c] += d * d
                n[c] += 1.0 if good else 0.0
        i += 1
    if slot < 0:
        return
    for c in range(n_channels):
        count = n[c]
        ring[COUNT, slot, c] = count
        if count > 0.0:
            offset = total[c] / count
            if has_anchor[c] == 0.0:
                anchor[c] = shift[c] + offset
                has_anchor[c] = 1.0
            ring[MEAN, slot, c] = (shift[c] - anchor[c]) + offset
            ring[M2, slot, c] = max(squares[c] - total[c] * offset, 0.0)
        else:
            ring[MEAN, slot, c] = 0.0
            ring[M2, slot, c] = 0.0
        n[c] = 0.0
        total[c] = 0.0
        squares[c] = 0.0


@kernel(void(float64[:, :, ::1], int64, float64[:, ::1]))
def _merge_blocks(ring: FloatArray, oldest: int, out: FloatArray) -> None:
    """Merge all blocks, oldest first, into rows count, mean, standard deviation and its logarithm."""
    n_blocks, n_channels = ring.shape[1], ring.shape[2]
    for c in range(n_channels):
        n, mean, m2 = 0.0, 0.0, 0.0
        for j in range(n_blocks):
            slot = (oldest + j) % n_blocks
            count = ring[COUNT, slot, c]
            if count > 0.0:
                both = n + count
                delta = ring[MEAN, slot, c] - mean
                mean += delta * (count / both)
                m2 += ring[M2, slot, c] + delta * delta * (n * count / both)
                n = both
        variance = m2 / n if n > 0.0 else 0.0
        out[COUNT, c] = n
        out[MEAN, c] = mean
        out[STD, c] = np.sqrt(variance)
        out[LOG_STD, c] = 0.5 * log(max(variance, TINY))


class RollingMoments:
    """Mean and standard deviation of the newest ``n_blocks * hop`` rows, per channel, at every multiple of ``hop``.

    Rows that are flagged are left out, and so is a value that is not finite (or beyond
    `neuroloop.processors.stages.input_guard.LIMIT`).

    Parameters
    ----------
    n_channels, hop, n_blocks : int
    anchor : array, shape (n_channels,), optional
        What means are relative to; each channel's first block mean otherwise.
    """

    def __init__(self, n_channels: int, *, hop: int, n_blocks: int, anchor: FloatArray | None = None) -> None:
        for label, value in (("n_channels", n_channels), ("hop", hop), ("n_blocks", n_blocks)):
            if value < 1:
                raise ValueError(f"{label} must be at least 1, got {value!r}")
        self.hop, self.n_blocks = hop, n_blocks
        self._sums = np.zeros((6, n_channels))
        self._ring = np.zeros((3, n_blocks, n_channels))
        self._window = np.zeros((4, n_channels))
        if anchor is not None:
            self._sums[_ANCHOR] = anchor
            self._sums[_HAS_ANCHOR] = 1.0

    @property
    def anchor(self) -> FloatArray:
        """What means are relative to; a view, shape (n_channels,)."""
        anchor: FloatArray = self._sums[_ANCHOR]
        return anchor

    def add(self, data: FloatArray, valid: BoolArray, first: int, start: int) -> int:
        """Add rows from local row ``start`` up to the end of the block or of the chunk.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels), C order
        valid : array, shape (n_samples,), bool
        first : int
            Global index of row 0.
        start : int
            Local row to begin at.

        Returns
        -------
        int
            The local row behind the last one taken; where its global index is a multiple of ``hop``, a block ended.
        """
        hop, g = self.hop, first + start
        stop = start + hop - g % hop
        if stop > len(valid):
            _add_rows(data, valid, start, len(valid), self._sums, self._ring, -1)
            return len(valid)
        _add_rows(data, valid, start, stop, self._sums, self._ring, g // hop % self.n_blocks)
        return stop

    def window(self, block: int) -> FloatArray:
        """Return the window that ends with this block, right after it ended.

        Returns
        -------
        array, shape (4, n_channels)
            Count, mean relative to the anchor, standard deviation (ddof 0), its natural logarithm; a view, valid until
            the next call.
        """
        _merge_blocks(self._ring, (block + 1) % self.n_blocks, self._window)
        return self._window

    def reset(self) -> None:
        """Forget all rows; the anchor stays."""
        self._sums[:_ANCHOR] = 0.0
        self._ring[:] = 0.0

    def get_state(self) -> StateDict:
        """Return the open block's sums and the ring (block ``b`` at ``b % n_blocks``)."""
        return {"sums": self._sums.copy(), "ring": self._ring.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such moments.
        """
        load_state(state, {"sums": self._sums, "ring": self._ring})
