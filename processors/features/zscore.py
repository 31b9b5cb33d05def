"""The z-score stage: subtract a frozen mean, divide by a frozen standard deviation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numba import boolean, float64, void
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import direct, kernel
from neuroloop.config.stages import ZScoreSettings
from neuroloop.processors.stages.input_guard import FLAGS, ROWS, VALUES, hold_chunk
from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo


@kernel(inline=True)
def _standardise(x: FloatArray, mean: FloatArray, std: FloatArray, out: FloatArray) -> None:
    """Standardise every value."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = (x[i, c] - mean[c]) / std[c]


@kernel(void(ROWS, FLAGS, VALUES, VALUES, float64[::1], float64[:, ::1], boolean[::1]))
def _zscore_into(
    x: FloatArray,
    valid: BoolArray,
    mean: FloatArray,
    std: FloatArray,
    held: FloatArray,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Hold what is not a number, then standardise."""
    if hold_chunk(x, valid, held, out, valid_out):
        _standardise(x, mean, std, out)
    else:
        _standardise(out, mean, std, out)


_zscore_directly = direct(_zscore_into)


class ZScore(RowStage):
    """Standardise every channel by numbers that were fixed at training time; the unit becomes ``1``.

    A value that is not finite is replaced by its channel's last good one, and its row is flagged.

    Parameters
    ----------
    settings : ZScoreSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If there is neither one mean for all channels nor one for each.
    """

    def __init__(self, settings: ZScoreSettings, info: StreamInfo) -> None:
        if len(settings.mean) not in (1, info.n_channels):
            raise ConfigError(f"mean must have 1 or n_channels={info.n_channels} entries, got {len(settings.mean)}")
        super().__init__(settings.name, info, info_out=dataclasses.replace(info, ch_units=("1",) * info.n_channels))
        self._mean = np.empty(info.n_channels)
        self._std = np.empty(info.n_channels)
        self._mean[:] = settings.mean
        self._std[:] = settings.std
        self._mean.flags.writeable = self._std.flags.writeable = False

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the mean and the standard deviation."""
        return {"mean": self._mean, "std": self._std}

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        _zscore_directly(chunk.data, chunk.valid, self._mean, self._std, self._held, out, valid)
