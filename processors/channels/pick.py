"""The pick stage: keep some channels, in a given order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, void
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import kernel
from neuroloop.config.stages import PickSettings
from neuroloop.processors.stages.input_guard import (
    FLAGS,
    INDICES,
    ROWS,
    Cursor,
    channel_indices,
    hold_chunk,
    load_state,
    wrong_channels,
)
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk


@kernel(void(ROWS, FLAGS, INDICES, float64[::1], float64[:, ::1], boolean[::1]))
def _pick_into(
    x: FloatArray,
    valid: BoolArray,
    indices: NDArray[np.int64],
    held: FloatArray,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Gather the channels, then hold what is not a number among them."""
    for i in range(x.shape[0]):
        for j in range(indices.shape[0]):
            out[i, j] = x[i, indices[j]]
    hold_chunk(out, valid, held, out, valid_out)


class Pick:
    """Keep channels by name, in the order given, or by type, in the stream's order.

    Only the kept channels count for a row's flag; a value of theirs that is not finite is replaced by its channel's
    last good one.

    Parameters
    ----------
    settings : PickSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If a channel is unknown or named twice, the stream has no channel of a type, or no channel is left.
    """

    def __init__(self, settings: PickSettings, info: StreamInfo) -> None:
        excluded = channel_indices(settings.exclude, info, "exclude")
        if settings.channels is not None:
            chosen = channel_indices(settings.channels, info, "channels")
        else:
            types = settings.types or ()
            for i, kind in enumerate(types):
                if kind not in info.ch_types:
                    has = ", ".join(sorted(set(info.ch_types)))
                    raise ConfigError(f"types.{i} must be a channel type of the stream ({has}), got {kind!r}")
            chosen = [i for i, kind in enumerate(info.ch_types) if kind in types]
        chosen = [i for i in chosen if i not in excluded]
        if not chosen:
            raise ConfigError(f"exclude must leave at least one channel, got {list(settings.exclude)!r}")
        self.name = settings.name
        self.info_in = info
        self.info_out = dataclasses.replace(
            info,
            ch_names=tuple(info.ch_names[i] for i in chosen),
            ch_types=tuple(info.ch_types[i] for i in chosen),
            ch_units=tuple(info.ch_units[i] for i in chosen),
        )
        self.delay_s = 0.0
        self.warmup_samples = 0
        self._indices = np.array(chosen, np.int64)
        self._indices.flags.writeable = False
        self._held = np.zeros(len(chosen))
        self._cursor = Cursor(settings.name)

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Keep the channels; the result is new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        data, first, cursor = chunk.data, chunk.first_sample, self._cursor
        n_rows, n_channels = data.shape
        if n_channels != self.info_in.n_channels:
            raise wrong_channels(self.name, self.info_in.n_channels, n_channels)
        out, valid = np.empty((n_rows, len(self._held))), np.empty(n_rows, np.bool_)
        if n_rows:
            if first != cursor.next_sample:
                cursor.start(first)
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            _pick_into(data, chunk.valid, self._indices, self._held, out, valid)
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
        """Return the indices of the kept channels."""
        return {"indices": self._indices}
