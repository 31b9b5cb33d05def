"""The base of a stage in plain NumPy: one output row for each input row, everything but the numbers done here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.settings import Settings
from neuroloop.config.stages import OwnStageSettings
from neuroloop.processors.stages.input_guard import Cursor, hold_chunk, load_state, wrong_channels
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StateDict, StreamInfo, make_chunk


class PlainStage:
    """A stage that turns rows into as many rows; subclasses write `compute`, and whatever else differs.

    ::

        class Rectify(PlainStage):
            class Settings(OwnStageSettings):
                gain: float = 1.0

            def compute(self, x):
                return np.abs(x) * self.settings.gain

    A value that is not finite is replaced by its channel's last good one before `compute` sees it, and its row and the
    ``warmup_samples`` behind it are flagged. What `compute` must remember stands in `state`, made by `start`.

    Parameters
    ----------
    settings : OwnStageSettings
        Of the class's own ``Settings``.
    info : StreamInfo
        The stream that comes in.
    """

    Settings: ClassVar[type[Settings]] = OwnStageSettings
    delay_s: float = 0.0
    """Algorithmic delay in seconds; a subclass may set it in its constructor."""
    warmup_samples: int = 0
    """Rows after a start or a bad row before an output row is right again (to 1 %)."""

    def __init__(self, settings: Any, info: StreamInfo) -> None:
        self.settings = settings
        self.name: str = settings.name
        self.info_in = info
        self.info_out = self.describe(info)
        self.state: StateDict = self.start()
        self._held = np.zeros(info.n_channels)
        self._cursor = Cursor(self.name)
        self._last_bad = -1

    def describe(self, info: StreamInfo) -> StreamInfo:
        """Return what comes out; the same as comes in unless a subclass says otherwise."""
        return info

    def start(self) -> StateDict:
        """Return what `compute` remembers before the first row: arrays by name, of a shape that never changes."""
        return {}

    def compute(self, x: FloatArray) -> FloatArray:
        """Return the output rows of input rows (n_rows, n_channels), at least one and all finite; ``x`` is read-only.

        The same rows must come out however they were cut, so that all memory of earlier rows stands in `state`.
        """
        raise NotImplementedError

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Compute the rows of a chunk; new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        n_rows, n_channels = chunk.data.shape
        if n_channels != len(self._held):
            raise wrong_channels(self.name, len(self._held), n_channels)
        first, valid = chunk.first_sample, np.empty(n_rows, np.bool_)
        if not n_rows:
            return make_chunk(np.empty((0, self.info_out.n_channels)), np.empty(0), first, valid, self.info_out)
        if first != self._cursor.next_sample:
            self._cursor.start(first)
            self._last_bad = first - 1
        data = np.ascontiguousarray(chunk.data)
        held = np.empty_like(data)
        if not hold_chunk(data, chunk.valid, self._held, held, valid):
            data = held
            data.setflags(write=False)
        out = np.ascontiguousarray(self.compute(data), np.float64)
        if not out.flags.owndata or out is data:
            out = out.copy()
        if self.warmup_samples:
            self._flag_warm_up(first, valid)
        self._cursor.next_sample = first + n_rows
        return make_chunk(out, chunk.timestamps.copy(), first, valid, self.info_out)

    def _flag_warm_up(self, first: int, valid: NDArray[np.bool_]) -> None:
        """Flag the rows within the warm-up behind a start or a bad row."""
        rows = np.arange(first, first + len(valid))
        bad = np.maximum.accumulate(np.where(valid, self._last_bad, rows))
        self._last_bad = int(bad[-1])
        valid &= rows - bad > self.warmup_samples

    def reset(self) -> None:
        """Forget all samples seen."""
        self.state = self.start()
        self._held[:] = 0.0
        self._cursor.next_sample = self._last_bad = -1

    def get_state(self) -> StateDict:
        """Return `state`, the held values and the position."""
        position = np.array([self._cursor.next_sample, self._last_bad])
        own = {f"state.{key}": np.array(array) for key, array in self.state.items()}
        return {"held": self._held.copy(), "position": position, **own}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a stage.
        """
        own = self.get_state()
        load_state(state, own)
        self._held[:] = own.pop("held")
        position = own.pop("position")
        self._cursor.next_sample, self._last_bad = int(position[0]), int(position[1])
        self.state = {key.removeprefix("state."): array for key, array in own.items()}

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays that the plan's hash covers: none unless a subclass has some."""
        return {}
