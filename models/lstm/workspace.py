"""Where everything lies that the LSTM kernels use while they run: one flat scratch array and one table of places.

Kernels take few arguments because each array costs some 40 ns at the call: all sizes and places stand in one int64
array, the ``plan``, all scratch and state in one float32 array, ``work``. Both are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuroloop.models.lstm.packing import (
    CELL_BLOCKS,
    GATES,
    Float32Array,
    IntArray,
    PackedWeights,
    aligned_zeros,
    padded,
)

Mode = Literal["window", "staggered", "carry"]
MODES: tuple[Mode, ...] = ("window", "staggered", "carry")

# entries of the plan: sizes first, then places in the plan, in the weights and in `work`
(
    WINDOW,
    HOP,
    N_STATES,
    CARRY,
    MEAN,
    N_FEATURES,
    N_CLASSES,
    N_LAYERS,
    N_DENSE,
    CELLS_AT,
    DIRECTIONS_AT,
    DENSE_AT,
    TEMPERATURE_AT,
    ROWS_AT,
    PROJECTED_AT,
    UPPER_AT,
    OUTPUTS_AT,
    STATES_AT,
    STATE_SIZE,
    SUMS_AT,
    SUMS_SIZE,
    POOLED_AT,
    POOLED_SIZE,
    FIRST_HEAD_AT,
    SECOND_HEAD_AT,
    PLAN_SIZE,
) = range(26)


@dataclass(frozen=True)
class Workspace:
    """Plan and scratch of one sliding network.

    Parameters
    ----------
    plan : array, shape (n,), int64
        Sizes and places, indexed by this module's constants.
    work : array, shape (m,), float32
        Feature rows, projections, states, scratch; begins at a cache line.
    """

    plan: IntArray
    work: Float32Array

    def part(self, place: int, size: int) -> Float32Array:
        """Return ``size`` numbers of ``work`` from the place that stands in the plan at ``place``; a view."""
        start = int(self.plan[place])
        return self.work[start : start + size]


def make_workspace(packed: PackedWeights, *, window_samples: int, hop_samples: int, mode: Mode) -> Workspace:
    """Lay out plan and scratch.

    Parameters
    ----------
    packed : PackedWeights
        The network.
    window_samples, hop_samples : int
        Feature rows of a window and between windows.
    mode : str
        ``window`` keeps the window's rows and their projections; ``staggered`` keeps ``ceil(window / hop)`` states,
        ``carry`` one.
    """
    network = packed.network
    n_layers, n_dense = len(network.lstm), len(packed.dense)
    n_directions = [int(n) for n in packed.n_directions]
    n_blocks = packed.cells[np.cumsum([0, *n_directions[:-1]]), CELL_BLOCKS]
    # numbers of a row: outputs of a layer, and gate sums of a layer
    n_outputs = [int(blocks) * (GATES // 4) * n for blocks, n in zip(n_blocks, n_directions, strict=True)]
    n_sums = [int(blocks) * GATES * n for blocks, n in zip(n_blocks, n_directions, strict=True)]
    n_states = {"window": 1, "staggered": -(-window_samples // hop_samples), "carry": 1}[mode]
    n_rows = window_samples if mode == "window" else 1
    # hidden and cell state: of one layer at a time, or of all layers with the sum for the mean
    state_size = 2 * max(n_outputs) if mode == "window" else 2 * sum(n_outputs) + n_outputs[-1]
    head_units = [*(dense.units for dense in network.head), network.n_classes]
    largest_head = max(n_outputs[-1], *(padded(units) for units in head_units))

    plan = np.zeros(PLAN_SIZE + packed.cells.size + n_layers + packed.dense.size, np.int64)
    plan[[WINDOW, HOP, N_STATES, CARRY]] = window_samples, hop_samples, n_states, mode == "carry"
    plan[[MEAN, N_FEATURES, N_CLASSES]] = network.pooling == "mean", network.n_features, network.n_classes
    plan[[N_LAYERS, N_DENSE, TEMPERATURE_AT]] = n_layers, n_dense, packed.temperature_at
    plan[[STATE_SIZE, SUMS_SIZE, POOLED_SIZE]] = state_size, max(n_sums), n_outputs[-1]
    place = PLAN_SIZE
    for entry, table in (
        (CELLS_AT, packed.cells),
        (DIRECTIONS_AT, packed.n_directions),
        (DENSE_AT, packed.dense),
    ):
        plan[entry] = place
        plan[place : place + table.size] = table.ravel()
        place += table.size

    size = 0
    for entry, n in (
        (ROWS_AT, n_rows * network.n_features),
        (PROJECTED_AT, n_rows * n_sums[0]),
        (UPPER_AT, n_rows * max(n_sums[1:], default=0) if mode == "window" else 0),
        (OUTPUTS_AT, n_rows * max(n_outputs) if mode == "window" else 0),
        (STATES_AT, n_states * state_size),
        (SUMS_AT, n_states * max(n_sums)),
        (POOLED_AT, n_outputs[-1]),
        (FIRST_HEAD_AT, largest_head),
        (SECOND_HEAD_AT, largest_head),
    ):
        plan[entry] = size
        size += padded(n)
    plan.flags.writeable = False
    return Workspace(plan, aligned_zeros(size))
