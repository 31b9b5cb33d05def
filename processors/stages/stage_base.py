"""What row stages and window stages have in common: they describe themselves, and keep state in named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.processors.stages.input_guard import load_state
from neuroloop.stream.contracts.chunks import StateDict, StreamInfo

_RESERVED = "position"


class StageBase:
    """Describe a stage, and save, restore and reset its arrays; `RowStage` and `WindowStage` add the work.

    Parameters
    ----------
    name : str
        Of the settings.
    info, info_out : StreamInfo
        The stream that comes in, and the one that goes out.
    delay_s : float
        Algorithmic delay in seconds.
    warmup_samples : int
        Input rows after a start or a flagged row before an output row may be valid again.
    arrays : mapping of str to array
        Everything that the stage remembers of the rows, under its key in the state and in the state's order. The stage
        changes the arrays in place; `reset` makes them again what they are now.
    marks : array of int64
        Row numbers and counts that are saved with the position; `reset` makes them 0.

    Raises
    ------
    TypeError
        If what is kept is no array, or the class defines neither ``_compute`` nor ``_run``.
    ValueError
        If an array is named ``position``, which is the base's own.
    """

    def __init__(
        self,
        name: str,
        info: StreamInfo,
        info_out: StreamInfo,
        *,
        delay_s: float,
        warmup_samples: int,
        arrays: Mapping[str, NDArray[Any]],
        marks: NDArray[np.int64],
    ) -> None:
        self.name = name
        self.info_in = info
        self.info_out = info_out
        self.delay_s = delay_s
        self.warmup_samples = warmup_samples
        for key, array in arrays.items():
            if key == _RESERVED:
                raise ValueError(f"state must have no key {_RESERVED!r}, the base's own, got {sorted(arrays)}")
            if not isinstance(array, np.ndarray):
                raise TypeError(f"state[{key!r}] must be an array that is changed in place, got {array!r}")
        self._arrays = dict(arrays)
        # most begin as zeros, and a ring of windows is large: no copy of those
        self._initial = {key: array.copy() for key, array in arrays.items() if array.any()}
        self._marks = marks
        self._next_sample = -1
        self._n_channels = info.n_channels
        self._n_columns = info_out.n_channels

    @property
    def next_sample(self) -> int:
        """Global index of the row to come; -1 before the first. During a chunk: of its first row (-1 at a start)."""
        return self._next_sample

    def reset(self) -> None:
        """Forget all samples seen; the next chunk may begin anywhere."""
        for key, array in self._arrays.items():
            array[...] = self._initial.get(key, 0)
        self._marks[:] = 0
        self._next_sample = -1

    def get_state(self) -> StateDict:
        """Return the whole state as new arrays, ``position`` last."""
        return {**{key: array.copy() for key, array in self._arrays.items()}, _RESERVED: self._position()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned, bit for bit.

        Raises
        ------
        ValueError
            If it is not a state of such a stage; nothing is changed then.
        """
        position = self._position()
        load_state(state, {**self._arrays, _RESERVED: position})
        self._set_position(position)

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays that the plan's hash covers; none where the settings say it all."""
        return {}

    def _position(self) -> NDArray[np.int64]:
        """Return the marks and the row to come."""
        return np.array([*self._marks, self._next_sample])

    def _set_position(self, position: NDArray[np.int64]) -> None:
        """Continue from what `_position` returned."""
        self._marks[:] = position[:-1]
        self._next_sample = int(position[-1])
