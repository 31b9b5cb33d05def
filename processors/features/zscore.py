"""The z-score stage: subtract a frozen mean, divide by a frozen standard deviation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, void
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import kernel
from neuroloop.config.stages import ZScoreSettings
from neuroloop.processors.stages.input_guard import FLAGS, ROWS, VALUES, Cursor, hold_chunk, load_state, wrong_channels
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk


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


class ZScore:
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
        self.name = settings.name
        self.info_in = info
        self.info_out = dataclasses.replace(info, ch_units=("1",) * info.n_channels)
        self.delay_s = 0.0
        self.warmup_samples = 0
        self._mean = np.empty(info.n_channels)
        self._std = np.empty(info.n_channels)
        self._mean[:] = settings.mean
        self._std[:] = settings.std
        self._mean.flags.writeable = self._std.flags.writeable = False
        self._held = np.zeros(info.n_channels)
        self._cursor = Cursor(settings.name)

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Standardise the rows; the result is new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        data, first, cursor = chunk.data, chunk.first_sample, self._cursor
        n_rows, n_channels = shape = data.shape
        if n_channels != len(self._held):
            raise wrong_channels(self.name, len(self._held), n_channels)
        out, valid = np.empty(shape), np.empty(n_rows, np.bool_)
        if n_rows:
            if first != cursor.next_sample:
                cursor.start(first)
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            _zscore_into(data, chunk.valid, self._mean, self._std, self._held, out, valid)
            cursor.next_sample = first + n_rows
        return make_chunk(out, chunk.timestamps.copy(), first, valid, self.info_out)

    def reset(self) -> None:
        """Forget all samples seen."""
        self._held[:] = 0.0
        self._cursor.next_sample = -1

    def get_state(self) -> StateDict:
        """Return the held values and the position."""
        return {"held": self._held.copy(), "position": np.array([self._cursor.next_sample])}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a stage.
        """
        own = self.get_state()
        load_state(state, own)
        self._held[:] = own["held"]
        self._cursor.next_sample = int(own["position"][0])

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the mean and the standard deviation."""
        return {"mean": self._mean, "std": self._std}
