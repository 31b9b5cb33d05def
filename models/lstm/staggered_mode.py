"""Modes ``staggered`` and ``carry``: states that advance with every feature row.

``staggered`` keeps one state per window that has begun and not ended, window ``k`` in slot ``k % n_states``. When a
row arrives its first-layer projection is made once, all states advance by it, and the one whose window ends there is
read out: the work of a window is spread over its rows and a decision is one step away. Each state is advanced by the
same sums in the same order as in mode ``window``, so the results are equal bit for bit, not only nearly. States are
innermost so that a block of weights is read once for all of them.

``carry`` keeps one state that is never reset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.cell import apply_gates, multiply_pair, project_rows
from neuroloop.models.lstm.packing import (
    CELL_BIAS,
    CELL_BLOCKS,
    CELL_COLUMNS,
    CELL_HIDDEN,
    CELL_HIDDEN_WEIGHTS,
    CELL_INPUT_WEIGHTS,
    CELL_INPUTS,
    Float32Array,
    IntArray,
)
from neuroloop.models.lstm.simd32 import WIDTH
from neuroloop.models.lstm.window_mode import (
    DATA,
    OUT,
    OUT_VALID,
    PLAN,
    VALID,
    WEIGHTS,
    WORK,
    pool_and_classify,
    take_row,
)
from neuroloop.models.lstm.workspace import (
    CARRY,
    CELLS_AT,
    HOP,
    MEAN,
    N_FEATURES,
    N_LAYERS,
    N_STATES,
    POOLED_AT,
    POOLED_SIZE,
    PROJECTED_AT,
    ROWS_AT,
    STATE_SIZE,
    STATES_AT,
    SUMS_AT,
    SUMS_SIZE,
    WINDOW,
)


@kernel(inline=True)
def _advance_layer(
    weights: Any, plan: Any, work: Any, layer: Any, layer_at: Any, below_at: Any, oldest: Any, newest: Any, turned: Any
) -> Any:
    """Advance one layer of the states of windows ``oldest ... newest`` by one row."""
    cell = plan[CELLS_AT] + layer * CELL_COLUMNS
    n_hidden, n_blocks, n_inputs = plan[cell + CELL_HIDDEN], plan[cell + CELL_BLOCKS], plan[cell + CELL_INPUTS]
    n_states = plan[N_STATES]
    n_pairs = (n_blocks + 1) // 2
    for i in range(n_pairs):
        pair = n_pairs - 1 - i if turned else i
        for k in range(oldest, newest + 1):
            sums_at = plan[SUMS_AT] + k % n_states * plan[SUMS_SIZE]
            hidden_at = plan[STATES_AT] + k % n_states * plan[STATE_SIZE]
            if layer == 0:
                multiply_pair(
                    work, plan[PROJECTED_AT], weights, plan[cell + CELL_HIDDEN_WEIGHTS],
                    work, hidden_at + layer_at, n_hidden, work, sums_at, pair, n_blocks,
                )  # fmt: skip
            else:
                multiply_pair(
                    weights, plan[cell + CELL_BIAS], weights, plan[cell + CELL_INPUT_WEIGHTS],
                    work, hidden_at + below_at, n_inputs, work, sums_at, pair, n_blocks,
                )  # fmt: skip
                multiply_pair(
                    work, sums_at, weights, plan[cell + CELL_HIDDEN_WEIGHTS],
                    work, hidden_at + layer_at, n_hidden, work, sums_at, pair, n_blocks,
                )  # fmt: skip
    for k in range(oldest, newest + 1):
        sums_at = plan[SUMS_AT] + k % n_states * plan[SUMS_SIZE]
        hidden_at = plan[STATES_AT] + k % n_states * plan[STATE_SIZE] + layer_at
        apply_gates(work, sums_at, work, hidden_at, hidden_at + n_blocks * WIDTH, n_blocks)


@kernel(inline=True)
def _advance(weights: Any, plan: Any, work: Any, oldest: Any, newest: Any, turned: Any) -> Any:
    """Advance all layers of the states of windows ``oldest ... newest`` by the row at hand."""
    cell = plan[CELLS_AT]
    project_rows(
        weights, plan[cell + CELL_INPUT_WEIGHTS], plan[cell + CELL_BIAS],
        work, plan[ROWS_AT], 0, plan[N_FEATURES], work, plan[PROJECTED_AT], 0, 1, plan[cell + CELL_BLOCKS],
    )  # fmt: skip
    layer_at, below_at = 0, 0
    for layer in range(plan[N_LAYERS]):
        _advance_layer(weights, plan, work, layer, layer_at, below_at, oldest, newest, turned)
        below_at = layer_at
        layer_at += 2 * plan[plan[CELLS_AT] + layer * CELL_COLUMNS + CELL_BLOCKS] * WIDTH
    if plan[MEAN]:
        for k in range(oldest, newest + 1):
            state_at = plan[STATES_AT] + k % plan[N_STATES] * plan[STATE_SIZE]
            for j in range(plan[POOLED_SIZE]):
                work[state_at + layer_at + j] += work[state_at + below_at + j]
    return below_at


@kernel(int64(WEIGHTS, PLAN, WORK, DATA, VALID, OUT, OUT_VALID, int64, int64, int64))
def advance_into(
    weights: Float32Array,
    plan: IntArray,
    work: Float32Array,
    data: NDArray[np.float64],
    valid: NDArray[np.bool_],
    out: NDArray[np.float64],
    out_valid: NDArray[np.bool_],
    start: int,
    next_row: int,
    last_invalid: int,
) -> int:
    """Take feature rows, write the decisions they complete, return the index of the newest invalid row."""
    window, hop = plan[WINDOW], plan[HOP]
    first_window = -(-start // hop)
    written = 0
    for i in range(data.shape[0]):
        row = next_row + i
        if not take_row(data, i, valid, work, plan[ROWS_AT]):
            last_invalid = row
        # windows that have begun and whose last row is not past
        k = max(first_window, -((window - 1 - row) // hop))
        oldest, newest = (0, 0) if plan[CARRY] else (k, row // hop)
        if not plan[CARRY] and newest >= first_window and newest * hop == row:
            state_at = plan[STATES_AT] + newest % plan[N_STATES] * plan[STATE_SIZE]
            for j in range(plan[STATE_SIZE]):
                work[state_at + j] = 0.0
        if newest >= oldest:
            top_at = _advance(weights, plan, work, oldest, newest, row & 1)
            if k * hop + window - 1 == row:
                state_at = plan[STATES_AT] + oldest % plan[N_STATES] * plan[STATE_SIZE]
                n_pooled = plan[POOLED_SIZE]
                for j in range(n_pooled):
                    value = work[state_at + top_at + j]
                    if plan[MEAN]:
                        value = work[state_at + top_at + 2 * n_pooled + j] / np.float32(window)
                    work[plan[POOLED_AT] + j] = value
                pool_and_classify(weights, plan, work, out, written)
                out_valid[written] = last_invalid < k * hop
                written += 1
    return last_invalid
