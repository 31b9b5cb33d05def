"""The pick stage: keep some channels, in a given order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, void
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import direct, kernel
from neuroloop.config.stages import PickSettings
from neuroloop.processors.stages.input_guard import FLAGS, INDICES, ROWS, channel_indices, hold_chunk, with_channels
from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo


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


_pick_directly = direct(_pick_into)


class Pick(RowStage):
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
        self._kept = np.zeros(len(chosen))
        super().__init__(
            settings.name, info, info_out=with_channels(info, chosen), state={"held": self._kept}, holds=False
        )
        self._indices = np.array(chosen, np.int64)
        self._indices.flags.writeable = False

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the indices of the kept channels."""
        return {"indices": self._indices}

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        _pick_directly(chunk.data, chunk.valid, self._indices, self._kept, out, valid)
