"""The reference stage: subtract the mean of the reference channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, void
from numpy.typing import NDArray

from config.errors import ConfigError
from config.kernels import direct, kernel
from config.stages import ReferenceSettings
from processors.guard import (
    FLAGS,
    ROWS,
    VALUES,
    Cursor,
    channel_indices,
    hold_chunk,
    is_plain,
    load_state,
    wrong_channels,
)
from stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk


@kernel(inline=True)
def _subtract_mean(
    x: FloatArray, weights: FloatArray, changed: FloatArray, n_reference: float, out: FloatArray
) -> None:
    """Subtract each row's mean over the weighted channels; eight partial sums, always in the same order."""
    n_rows, n_channels = x.shape
    whole = n_channels - n_channels % 8
    for i in range(n_rows):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for c in range(0, whole, 8):
            s0 += x[i, c] * weights[c]
            s1 += x[i, c + 1] * weights[c + 1]
            s2 += x[i, c + 2] * weights[c + 2]
            s3 += x[i, c + 3] * weights[c + 3]
            s4 += x[i, c + 4] * weights[c + 4]
            s5 += x[i, c + 5] * weights[c + 5]
            s6 += x[i, c + 6] * weights[c + 6]
            s7 += x[i, c + 7] * weights[c + 7]
        for c in range(whole, n_channels):
            s0 += x[i, c] * weights[c]
        mean = (((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))) / n_reference
        for c in range(n_channels):
            out[i, c] = x[i, c] - mean * changed[c]


@kernel(void(ROWS, FLAGS, VALUES, VALUES, float64, float64[::1], float64[:, ::1], boolean[::1]))
def _reference_into(
    x: FloatArray,
    valid: BoolArray,
    weights: FloatArray,
    changed: FloatArray,
    n_reference: float,
    held: FloatArray,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Hold what is not a number, then reference."""
    if hold_chunk(x, valid, held, out, valid_out):
        _subtract_mean(x, weights, changed, n_reference, out)
    else:
        _subtract_mean(out, weights, changed, n_reference, out)


_reference_directly = direct(_reference_into)


class Reference:
    """Subtract the mean of the reference channels from every channel that is not excluded.

    A value that is not finite is replaced by its channel's last good one, and its row is flagged.

    Parameters
    ----------
    settings : ReferenceSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If a channel is unknown, named twice, both reference and excluded, or no reference channel is left.
    """

    def __init__(self, settings: ReferenceSettings, info: StreamInfo) -> None:
        excluded = channel_indices(settings.exclude, info, "exclude")
        if settings.channels == "average":
            chosen = [i for i in range(info.n_channels) if i not in excluded]
        else:
            chosen = channel_indices(settings.channels, info, "channels")
            for i, name in enumerate(settings.channels):
                if name in settings.exclude:
                    raise ConfigError(f"channels.{i} must not be in exclude, got {name!r}")
        if not chosen:
            raise ConfigError(f"channels must leave at least one reference channel, got {settings.channels!r}")
        self.name = settings.name
        self.info_in = self.info_out = info
        self.delay_s = 0.0
        self.warmup_samples = 0
        self._weights = np.zeros(info.n_channels)
        self._weights[chosen] = 1.0
        self._changed = np.ones(info.n_channels)
        self._changed[excluded] = 0.0
        self._weights.flags.writeable = self._changed.flags.writeable = False
        self._n_reference = float(len(chosen))
        self._held = np.zeros(info.n_channels)
        self._cursor = Cursor(settings.name)

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Reference the rows; the result is new and owned by the caller.

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
            flags = chunk.valid
            run = _reference_directly if is_plain(data, flags) else _reference_into
            run(data, flags, self._weights, self._changed, self._n_reference, self._held, out, valid)
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
        """Return which channels make the reference and which ones change."""
        return {"weights": self._weights, "changed": self._changed}
