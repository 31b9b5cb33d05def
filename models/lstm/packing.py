"""Weights in the layout that the kernels read: made once at load, never changed.

Hidden units are padded to whole blocks of `WIDTH` (16) lanes. One direction of one LSTM layer holds two matrices and
a bias, each cut into blocks of 16 units; a block keeps, for each input ``k``, 64 numbers side by side: 16 lanes of the
input gate, then of the forget gate, the cell and the output gate. So the inner loop over ``k`` reads memory in order,
and a block's 64 sums stay in registers. One stream per block was measured to be faster than rows of all ``4 * hidden``
(290 against 550 ns a step at 64 units). Padded units have zero weights: their state stays exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.bundle import NetworkSettings
from neuroloop.models.lstm.simd32 import WIDTH
from neuroloop.models.lstm.weights import check_tensors, directions

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

GATES = 4 * WIDTH
"""Numbers of one block for one input."""

# one row of `PackedWeights.cells`
CELL_INPUTS, CELL_HIDDEN, CELL_BLOCKS, CELL_INPUT_WEIGHTS, CELL_HIDDEN_WEIGHTS, CELL_BIAS, CELL_COLUMNS = range(7)
# one row of `PackedWeights.dense`
DENSE_INPUTS, DENSE_BLOCKS, DENSE_WEIGHTS, DENSE_BIAS, DENSE_RELU, DENSE_COLUMNS = range(6)

_CACHE_LINE = 64


def aligned_zeros(n: int) -> Float32Array:
    """Return ``n`` float32 zeros that begin at a cache line (NumPy promises 16 bytes only)."""
    raw = np.zeros(n * 4 + _CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE
    return raw[start : start + n * 4].view(np.float32)


def padded(n: int) -> int:
    """Return ``n`` rounded up to whole lanes."""
    return -(-n // WIDTH) * WIDTH


@dataclass(frozen=True)
class PackedWeights:
    """A network's weights for the kernels.

    Parameters
    ----------
    network : NetworkSettings
        What was packed.
    flat : array, shape (n,), float32
        Every matrix and bias, each at a cache line, and the temperature.
    temperature_at : int
        Where in ``flat`` the temperature is.
    cells : array, shape (n_cells, 6), int64
        One row per layer and direction: inputs (padded), hidden units, blocks, and where the two matrices and the
        bias begin in ``flat``. A bidirectional layer has two rows, the backward one second.
    n_directions : array, shape (n_layers,), int64
        1 or 2 per layer.
    dense : array, shape (n_dense, 5), int64
        One row per dense layer, the output layer last: inputs (padded), blocks of units, where the matrix
        ``(n_in, blocks * 16)`` and the bias begin, and 1 for a rectifier.
    """

    network: NetworkSettings
    flat: Float32Array
    temperature_at: int
    cells: IntArray
    n_directions: IntArray
    dense: IntArray


class _Flat:
    """Collects arrays, each at a cache line, and hands out where they begin."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Float32Array]] = []
        self.size = 0

    def append(self, part: Float32Array) -> int:
        start = self.size
        self._parts.append((start, part.ravel()))
        self.size += padded(part.size)
        return start

    def join(self) -> Float32Array:
        flat = aligned_zeros(self.size)
        for start, part in self._parts:
            flat[start : start + part.size] = part
        flat.flags.writeable = False
        return flat


def _place_inputs(matrix: Float32Array, parts: tuple[int, ...]) -> Float32Array:
    """Spread the columns of a matrix over padded inputs: ``parts`` are the widths that are padded one by one."""
    out = np.zeros((matrix.shape[0], sum(padded(part) for part in parts)), np.float32)
    source = target = 0
    for part in parts:
        out[:, target : target + part] = matrix[:, source : source + part]
        source, target = source + part, target + padded(part)
    return out


def _block_gates(matrix: Float32Array, hidden: int) -> Float32Array:
    """Turn ``(4 * hidden, n_in)`` into ``(n_blocks, n_in, 64)``."""
    n_in, n_units = matrix.shape[1], padded(hidden)
    gates = np.zeros((4, n_units, n_in), np.float32)
    gates[:, :hidden] = matrix.reshape(4, hidden, n_in)
    blocks = gates.reshape(4, n_units // WIDTH, WIDTH, n_in)
    return np.ascontiguousarray(blocks.transpose(1, 3, 0, 2)).reshape(n_units // WIDTH, n_in, GATES)


def pack_weights(
    network: NetworkSettings, tensors: Mapping[str, NDArray[Any]], temperature: float = 1.0
) -> PackedWeights:
    """Lay out a network's tensors for the kernels.

    Parameters
    ----------
    network : NetworkSettings
        Sizes of the layers.
    tensors : mapping
        Named as `neuroloop.models.lstm.weights.expected_tensors` says; float32.
    temperature : float
        Calibration: logits are divided by it before the softmax.

    Raises
    ------
    ValueError
        If the temperature is not a positive number.
    BundleError
        If the tensors are not exactly this network's.
    """
    if not (np.isfinite(np.float32(temperature)) and np.float32(temperature) > 0):
        raise ValueError(f"temperature must be a positive float32, got {temperature!r}")
    check_tensors(network, tensors)
    flat = _Flat()
    cells, dense = [], []
    parts: tuple[int, ...] = (network.n_features,)
    n_inputs = network.n_features  # the first layer's inputs are not padded
    for index, layer in enumerate(network.lstm):
        for direction in directions(layer.bidirectional):
            prefix = f"lstm.{index}.{direction}"
            inputs = tensors[f"{prefix}.weight_ih"]
            if index:
                inputs = _place_inputs(inputs, parts)
            # torch adds both biases at every step; here once
            bias = (tensors[f"{prefix}.bias_ih"] + tensors[f"{prefix}.bias_hh"])[:, None]
            cells.append(
                (
                    n_inputs,
                    layer.hidden,
                    padded(layer.hidden) // WIDTH,
                    flat.append(_block_gates(inputs, layer.hidden)),
                    flat.append(_block_gates(tensors[f"{prefix}.weight_hh"], layer.hidden)),
                    flat.append(_block_gates(bias, layer.hidden)),
                )
            )
        parts = (layer.hidden,) * (2 if layer.bidirectional else 1)
        n_inputs = sum(padded(part) for part in parts)
    heads = [(f"head.{index}", layer.activation == "relu") for index, layer in enumerate(network.head)]
    for name, rectified in [*heads, ("output", False)]:
        weight = _place_inputs(tensors[f"{name}.weight"], parts)
        n_units = padded(weight.shape[0])
        matrix = np.zeros((weight.shape[1], n_units), np.float32)
        matrix[:, : weight.shape[0]] = weight.T
        bias = np.zeros(n_units, np.float32)
        bias[: weight.shape[0]] = tensors[f"{name}.bias"]
        dense.append((weight.shape[1], n_units // WIDTH, flat.append(matrix), flat.append(bias), int(rectified)))
        parts = (weight.shape[0],)
    temperature_at = flat.append(np.array([temperature], np.float32))
    return PackedWeights(
        network,
        flat.join(),
        temperature_at,
        np.array(cells, np.int64),
        np.array([2 if layer.bidirectional else 1 for layer in network.lstm], np.int64),
        np.array(dense, np.int64),
    )
