"""Mode ``window``: zero state, the whole window again for every decision; the reference.

The first layer's input projections do not depend on the window: each row's are made once, when the row arrives, and
kept in a ring of one window. At the window's last row only the recurrences and the higher layers
remain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, int64, types, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.cell import apply_gates, multiply, project_rows
from neuroloop.models.lstm.head import classify
from neuroloop.models.lstm.packing import (
    CELL_BIAS,
    CELL_BLOCKS,
    CELL_COLUMNS,
    CELL_HIDDEN,
    CELL_HIDDEN_WEIGHTS,
    CELL_INPUT_WEIGHTS,
    CELL_INPUTS,
    GATES,
    Float32Array,
    IntArray,
)
from neuroloop.models.lstm.simd32 import WIDTH
from neuroloop.models.lstm.workspace import (
    CELLS_AT,
    DENSE_AT,
    DIRECTIONS_AT,
    FIRST_HEAD_AT,
    HOP,
    MEAN,
    N_CLASSES,
    N_DENSE,
    N_FEATURES,
    N_LAYERS,
    OUTPUTS_AT,
    POOLED_AT,
    POOLED_SIZE,
    PROJECTED_AT,
    ROWS_AT,
    SECOND_HEAD_AT,
    STATES_AT,
    SUMS_AT,
    TEMPERATURE_AT,
    UPPER_AT,
    WINDOW,
)

WEIGHTS = types.Array(types.float32, 1, "C", readonly=True)
PLAN = types.Array(types.int64, 1, "C", readonly=True)
WORK = types.Array(types.float32, 1, "C")
DATA = types.Array(float64, 2, "C", readonly=True)
VALID = types.Array(boolean, 1, "C", readonly=True)
OUT = types.Array(float64, 2, "C")
OUT_VALID = types.Array(boolean, 1, "C")

_LARGEST = np.float32(np.finfo(np.float32).max)


@kernel(inline=True)
def take_row(data: Any, row: Any, valid: Any, work: Any, place: Any) -> Any:
    """Cast one feature row to float32; what is not finite there becomes 0. Returns whether the row is valid."""
    good = valid[row]
    for j in range(data.shape[1]):
        value = np.float32(data[row, j])
        if not abs(value) <= _LARGEST:  # NaN fails too
            value = np.float32(0.0)
            good = False
        work[place + j] = value
    return good


@kernel(inline=True)
def pool_and_classify(weights: Any, plan: Any, work: Any, out: Any, row: Any) -> Any:
    """Write the probabilities of the pooled hidden state."""
    for j in range(plan[POOLED_SIZE]):
        work[plan[FIRST_HEAD_AT] + j] = work[plan[POOLED_AT] + j]
    classify(
        weights, plan, plan[DENSE_AT], plan[N_DENSE], plan[TEMPERATURE_AT], plan[N_CLASSES],
        work, plan[FIRST_HEAD_AT], plan[SECOND_HEAD_AT], out, row,
    )  # fmt: skip


@kernel(void(WEIGHTS, PLAN, WORK, int64, int64))
def project_first_layer(weights: Float32Array, plan: IntArray, work: Float32Array, slot: int, n_rows: int) -> None:
    """Project rows ``slot ... slot + n_rows - 1`` of the ring for both directions of the first layer."""
    n_features = plan[N_FEATURES]
    n_directions = plan[plan[DIRECTIONS_AT]]
    for direction in range(n_directions):
        cell = plan[CELLS_AT] + direction * CELL_COLUMNS
        n_sums = plan[cell + CELL_BLOCKS] * GATES
        project_rows(
            weights, plan[cell + CELL_INPUT_WEIGHTS], plan[cell + CELL_BIAS],
            work, plan[ROWS_AT] + slot * n_features, n_features, n_features,
            work, plan[PROJECTED_AT] + (slot * n_directions + direction) * n_sums, n_directions * n_sums,
            n_rows, plan[cell + CELL_BLOCKS],
        )  # fmt: skip


@kernel(void(WEIGHTS, PLAN, WORK, int64, int64))
def _project_upper_layer(
    weights: Float32Array, plan: IntArray, work: Float32Array, first_cell: int, n_directions: int
) -> None:
    """Project the outputs of the layer below, for all rows of the window."""
    for direction in range(n_directions):
        cell = plan[CELLS_AT] + (first_cell + direction) * CELL_COLUMNS
        n_sums = plan[cell + CELL_BLOCKS] * GATES
        n_inputs = plan[cell + CELL_INPUTS]
        project_rows(
            weights, plan[cell + CELL_INPUT_WEIGHTS], plan[cell + CELL_BIAS],
            work, plan[OUTPUTS_AT], n_inputs, n_inputs,
            work, plan[UPPER_AT] + direction * n_sums, n_directions * n_sums,
            plan[WINDOW], plan[cell + CELL_BLOCKS],
        )  # fmt: skip


@kernel(void(WEIGHTS, PLAN, WORK, int64, int64, int64, int64, int64, boolean))
def _run_direction(
    weights: Float32Array,
    plan: IntArray,
    work: Float32Array,
    cell_index: int,
    direction: int,
    n_directions: int,
    projected_at: int,
    first_slot: int,
    is_top: bool,
) -> None:
    """Run one direction of one layer over the window; keep its outputs, and the top layer's final hidden state."""
    cell = plan[CELLS_AT] + cell_index * CELL_COLUMNS
    n_hidden, n_blocks = plan[cell + CELL_HIDDEN], plan[cell + CELL_BLOCKS]
    n_units, n_sums = n_blocks * WIDTH, n_blocks * GATES
    hidden_at = plan[STATES_AT]
    memory_at = hidden_at + n_units
    sums_at = plan[SUMS_AT]
    for j in range(2 * n_units):
        work[hidden_at + j] = 0.0
    for step in range(plan[WINDOW]):
        row = plan[WINDOW] - 1 - step if direction == 1 else step
        slot = row + first_slot
        if slot >= plan[WINDOW]:
            slot -= plan[WINDOW]
        multiply(
            work, projected_at + (slot * n_directions + direction) * n_sums,
            weights, plan[cell + CELL_HIDDEN_WEIGHTS], work, hidden_at, n_hidden,
            work, sums_at, n_blocks, step & 1,
        )  # fmt: skip
        apply_gates(work, sums_at, work, hidden_at, memory_at, n_blocks)
        place = plan[OUTPUTS_AT] + (row * n_directions + direction) * n_units
        for j in range(n_units):
            work[place + j] = work[hidden_at + j]
    if is_top:
        for j in range(n_units):
            work[plan[POOLED_AT] + direction * n_units + j] = work[hidden_at + j]


@kernel(void(WEIGHTS, PLAN, WORK, int64, OUT, int64))
def run_window(
    weights: Float32Array, plan: IntArray, work: Float32Array, first_slot: int, out: NDArray[np.float64], out_row: int
) -> None:
    """Run the whole network over the ring, whose oldest row is ``first_slot``, and write its probabilities."""
    cell = 0
    for layer in range(plan[N_LAYERS]):
        n_directions = plan[plan[DIRECTIONS_AT] + layer]
        projected_at, slot = plan[PROJECTED_AT], first_slot
        if layer > 0:
            _project_upper_layer(weights, plan, work, cell, n_directions)
            projected_at, slot = plan[UPPER_AT], 0
        for direction in range(n_directions):
            _run_direction(
                weights, plan, work, cell + direction, direction, n_directions, projected_at, slot,
                layer == plan[N_LAYERS] - 1,
            )  # fmt: skip
        cell += n_directions
    if plan[MEAN]:
        n_pooled = plan[POOLED_SIZE]
        for j in range(n_pooled):
            total = np.float32(0.0)
            for row in range(plan[WINDOW]):
                total += work[plan[OUTPUTS_AT] + row * n_pooled + j]
            work[plan[POOLED_AT] + j] = total / np.float32(plan[WINDOW])
    pool_and_classify(weights, plan, work, out, out_row)


@kernel(int64(WEIGHTS, PLAN, WORK, DATA, VALID, OUT, OUT_VALID, int64, int64, int64))
def window_into(
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
    n_features = plan[N_FEATURES]
    taken, written = 0, 0
    while taken < data.shape[0]:
        row = next_row + taken
        slot = row % window
        # the smallest k whose window ends at or after this row
        k = -((window - 1 - row) // hop)
        last = k * hop + window - 1
        n_rows = min(data.shape[0] - taken, window - slot, last - row + 1)
        for i in range(n_rows):
            if not take_row(data, taken + i, valid, work, plan[ROWS_AT] + (slot + i) * n_features):
                last_invalid = row + i
        project_first_layer(weights, plan, work, slot, n_rows)
        taken += n_rows
        if row + n_rows - 1 == last and k * hop >= start:
            run_window(weights, plan, work, (last + 1) % window, out, written)
            out_valid[written] = last_invalid < k * hop
            written += 1
    return last_invalid
