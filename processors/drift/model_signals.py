"""What a classifier's output says of drift: a changed input need not cost accuracy, and accuracy may go unseen."""

from __future__ import annotations

import dataclasses

import numpy as np
from numba import float64, void

from neuroloop.config.kernels import kernel
from neuroloop.processors.numerics.elementary import log
from neuroloop.processors.stages.input_guard import ROWS
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StreamInfo, make_chunk


@kernel(void(ROWS, float64, float64[:, ::1]))
def _signals_into(p: FloatArray, threshold: float, out: FloatArray) -> None:
    """Fill shares (one of them 1), confidence, entropy as a share of its largest value, rejected or not."""
    n_classes = p.shape[1]
    largest = log(float(n_classes))
    for i in range(p.shape[0]):
        best = 0
        entropy = 0.0
        for c in range(n_classes):
            out[i, c] = 0.0
            if p[i, c] > p[i, best]:
                best = c
            if p[i, c] > 0.0:
                entropy -= p[i, c] * log(p[i, c])
        out[i, best] = 1.0
        out[i, n_classes] = p[i, best]
        out[i, n_classes + 1] = entropy / largest
        out[i, n_classes + 2] = 1.0 if p[i, best] < threshold else 0.0


class ModelSignals:
    """Turn class probabilities into ``prior:<class>``, ``confidence``, ``entropy`` and ``reject``, row by row.

    Parameters
    ----------
    info : StreamInfo
        The probabilities; at least two classes.
    threshold : float
        Below it the most probable class is rejected.
    """

    def __init__(self, info: StreamInfo, threshold: float) -> None:
        names = (*(f"prior:{name}" for name in info.ch_names), "confidence", "entropy", "reject")
        self._threshold = threshold
        self.info_out = dataclasses.replace(
            info, ch_names=names, ch_types=("share",) * len(names), ch_units=("1",) * len(names)
        )

    def process(self, chunk: Chunk) -> Chunk:
        """Return the signals of the rows; a new chunk."""
        out = np.empty((len(chunk), self.info_out.n_channels))
        _signals_into(np.ascontiguousarray(chunk.data), self._threshold, out)
        return make_chunk(out, chunk.timestamps, chunk.first_sample, chunk.valid, self.info_out)
