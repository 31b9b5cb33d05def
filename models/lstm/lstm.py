"""A network that slides over feature rows and gives class probabilities; float32, without torch.

===============  ==================================================  ==============================================
mode             state                                               cost
===============  ==================================================  ==============================================
``window``       none: zero state, the whole window each decision    all at the window's last row
``staggered``    one per open window, ``ceil(window / hop)``         the same work, spread over the rows
``carry``        one, forgotten at `SlidingLstm.reset` only          one step a row
===============  ==================================================  ==============================================

``window`` and ``staggered`` are equal bit for bit. ``carry`` is another function of the signal: a network must have
been trained or at least validated that way. All sums have a fixed order, so the bits depend neither on how the rows
were handed over nor on the CPU. Gates and their order are torch's [1]_; results are within 1e-5 of ``torch.nn.LSTM`` at
its default initialisation.

References
----------
.. [1] Hochreiter and Schmidhuber, Neural Computation 9(8), 1735-1780, 1997 (with the forget gate of Gers et al., 2000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.models.lstm.packing import Float32Array, PackedWeights
from neuroloop.models.lstm.staggered_mode import advance_into
from neuroloop.models.lstm.window_mode import project_first_layer, window_into
from neuroloop.models.lstm.workspace import (
    MODES,
    N_STATES,
    POOLED_AT,
    POOLED_SIZE,
    ROWS_AT,
    STATE_SIZE,
    STATES_AT,
    Mode,
    make_workspace,
)
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StateDict


class SlidingLstm:
    """Runs a network over windows of feature rows.

    Window ``k`` sees rows ``k * hop_samples ... k * hop_samples + window_samples - 1`` of the global index. The first
    decision after a start at row ``s`` is the smallest ``k`` with ``k * hop_samples >= s``.

    Parameters
    ----------
    packed : PackedWeights
        From `neuroloop.models.lstm.packing.pack_weights`.
    window_samples, hop_samples : int
        Feature rows that one decision sees, and between decisions; a hop longer than the window leaves the rows in
        between unseen (but by ``carry``).
    mode : str
        ``window``, ``staggered`` or ``carry``.

    Raises
    ------
    ValueError
        If hop or window is out of range, the mode is unknown, a bidirectional network is not in mode ``window`` or
        mean pooling is asked for in mode ``carry``, where no window bounds the mean.
    """

    def __init__(self, packed: PackedWeights, *, window_samples: int, hop_samples: int, mode: Mode = "window") -> None:
        if window_samples < 1:
            raise ValueError(f"window_samples must be >= 1, got {window_samples!r}")
        if hop_samples < 1:
            raise ValueError(f"hop_samples must be >= 1, got {hop_samples!r}")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if mode != "window" and (packed.n_directions > 1).any():
            raise ValueError(f"mode must be 'window' for a network with bidirectional layers, got {mode!r}")
        if mode == "carry" and packed.network.pooling != "last":
            raise ValueError(f"pooling must be 'last' in mode 'carry', got {packed.network.pooling!r}")
        self._packed = packed
        self._window, self._hop, self._mode = window_samples, hop_samples, mode
        self._n_features, self._n_classes = packed.network.n_features, packed.network.n_classes
        self._space = make_workspace(packed, window_samples=window_samples, hop_samples=hop_samples, mode=mode)
        self._arrays = (packed.flat, self._space.plan, self._space.work)
        self._kernel = window_into if mode == "window" else advance_into
        self._start = self._next_row = self._next_window = 0
        self._last_invalid = -1

    @property
    def next_row(self) -> int:
        """Global index of the row that comes next."""
        return self._next_row

    @property
    def next_window(self) -> int:
        """Index of the decision that comes next."""
        return self._next_window

    @property
    def pooled(self) -> Float32Array:
        """What the head saw at the newest decision, forward then backward; a new array ``(n_pooled,)``."""
        layer = self._packed.network.lstm[-1]
        n_directions = 2 if layer.bidirectional else 1
        whole = self._space.part(POOLED_AT, int(self._space.plan[POOLED_SIZE]))
        return whole.reshape(n_directions, -1)[:, : layer.hidden].ravel().copy()

    def push(self, data: FloatArray, valid: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Take feature rows and return the decisions that they complete.

        Parameters
        ----------
        data : array, shape (n_samples, n_features), float64, C order
            Cast to float32 here; values that are not finite then count as 0 and make their row invalid.
        valid : array, shape (n_samples,), bool

        Returns
        -------
        probabilities : array, shape (n_decisions, n_classes), float64
            New; the first row is decision `next_window` as it was before the call.
        valid : array, shape (n_decisions,), bool
            New; whether all rows of the window are valid.
        """
        n_samples, n_features = data.shape
        if n_features != self._n_features or len(valid) != n_samples:
            raise ValueError(
                f"data must have shape (n_samples, {self._n_features}) with one entry of valid per row,"
                f" got {data.shape!r} and {len(valid)!r}"
            )
        next_row = self._next_row + n_samples
        # closed form of the global index: windows that end before `next_row`
        next_window = max(self._next_window, (next_row - self._window) // self._hop + 1)
        n_out = next_window - self._next_window
        out, out_valid = np.empty((n_out, self._n_classes)), np.empty(n_out, np.bool_)
        self._last_invalid = self._kernel(
            *self._arrays, data, valid, out, out_valid, self._start, self._next_row, self._last_invalid
        )
        self._next_row, self._next_window = next_row, next_window
        return out, out_valid

    def reset(self, next_row: int = 0) -> None:
        """Forget all rows; the next one has the global index ``next_row``.

        Raises
        ------
        ValueError
            If the index is negative.
        """
        if next_row < 0:
            raise ValueError(f"next_row must be >= 0, got {next_row!r}")
        self._start = self._next_row = next_row
        self._next_window = self._first_open_window()
        self._last_invalid = -1
        self._space.work[:] = 0

    def get_state(self) -> StateDict:
        """Return counters and the rows or the states, as new arrays."""
        counters = np.array([self._start, self._next_row, self._last_invalid], np.int64)
        return {"counters": counters, "memory": self._memory().copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If the state belongs to a network, window or mode of another size.
        """
        memory = self._memory()
        if state["memory"].shape != memory.shape:
            raise ValueError(f"memory must have shape {memory.shape}, got {state['memory'].shape!r}")
        self.reset()
        memory[:] = state["memory"]
        self._start, self._next_row, self._last_invalid = (int(n) for n in state["counters"])
        self._next_window = self._first_open_window()
        if self._mode == "window":  # projections are a function of the rows, bit for bit
            project_first_layer(self._packed.flat, self._space.plan, self._space.work, 0, self._window)

    def _first_open_window(self) -> int:
        """Return the first window that began at or after the start and ends at the next row or later."""
        return max(-(-self._start // self._hop), -((self._window - 1 - self._next_row) // self._hop))

    def _memory(self) -> Float32Array:
        """Return what must be kept between rows, a view: the ring of rows, or the states."""
        if self._mode == "window":
            return self._space.part(ROWS_AT, self._window * self._n_features)
        plan = self._space.plan
        return self._space.part(STATES_AT, int(plan[N_STATES] * plan[STATE_SIZE]))
