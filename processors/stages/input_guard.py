"""What every stage does before it computes: check the sample numbers, hold what is not a number.

A value that is not finite, or larger than `LIMIT`, is replaced by its channel's last good value (0 before the first)
and its row is flagged. So no NaN ever enters a recursive filter, and what a stage puts out is finite.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numba import boolean, float64, int64, types
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import kernel
from neuroloop.config.nearest import did_you_mean
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo, make_chunk

_FEW = 16
"""Channels that a message lists."""
LIMIT = 1e100
"""Magnitudes beyond it count as not finite: their squares and filter states would overflow."""

FIRST_ROW, LAST_BAD = 0, 1
"""Places in a windowed stage's integer state: the first window since the start, the newest flagged input row.

They stand here because the cache of compiled kernels is keyed by the files that hold kernels.
"""

FLOAT64, BOOL = np.dtype(np.float64), np.dtype(np.bool_)

ROWS = types.Array(float64, 2, "C", readonly=True)
VALUES = types.Array(float64, 1, "C", readonly=True)
FLAGS = types.Array(boolean, 1, "C", readonly=True)
INDICES = types.Array(int64, 1, "C", readonly=True)


@kernel(inline=True)
def hold_row(x: FloatArray, i: int, held: FloatArray, target: FloatArray, j: int) -> int:
    """Copy row ``i`` of ``x`` to row ``j`` of ``target``, holding bad values; return how many there were."""
    n_bad = 0
    for c in range(x.shape[1]):
        value = x[i, c]
        good = abs(value) <= LIMIT
        kept = value if good else held[c]
        held[c] = kept
        target[j, c] = kept
        n_bad += 0 if good else 1
    return n_bad


@kernel(boolean(ROWS))
def all_good(x: FloatArray) -> bool:
    """Return whether every value is finite and within `LIMIT`."""
    flat = x.reshape(x.size)
    n_bad = 0
    for i in range(flat.shape[0]):
        n_bad += 0 if abs(flat[i]) <= LIMIT else 1
    return n_bad == 0


@kernel(boolean(ROWS, FLAGS, float64[::1], float64[:, ::1], boolean[::1]))
def hold_chunk(x: FloatArray, valid: BoolArray, held: FloatArray, out: FloatArray, valid_out: BoolArray) -> bool:
    """Set the flags of a chunk of at least one row; return whether ``x`` is good as it is.

    If not, ``out`` (may be ``x``) has its rows with bad values held. ``held`` moves on to the last row either way.
    """
    n_rows, n_channels = x.shape
    if all_good(x):
        for i in range(n_rows):
            valid_out[i] = valid[i]
        for c in range(n_channels):
            held[c] = x[n_rows - 1, c]
        return True
    for i in range(n_rows):
        n_bad = hold_row(x, i, held, out, i)
        valid_out[i] = valid[i] and n_bad == 0
    return False


def held_rows(x: FloatArray, valid: BoolArray, held: FloatArray, valid_out: BoolArray) -> FloatArray:
    """Set the flags of a chunk of at least one row; return its rows as they are, or a copy with bad values held."""
    kept = np.empty(x.shape)
    return x if hold_chunk(x, valid, held, kept, valid_out) else kept


def plain_chunk(name: str, chunk: Chunk) -> Chunk:
    """Return a chunk whose rows and flags may go to a kernel by `neuroloop.config.kernels.direct`.

    Raises
    ------
    TypeError
        If the rows are not float64, or the flags not bool.
    ValueError
        If there is not one flag per row.
    """
    for label, array, dtype in (("data", chunk.data, FLOAT64), ("valid", chunk.valid, BOOL)):
        if array.dtype != dtype:
            raise TypeError(f"{label} of a chunk of stage {name!r} must be {dtype}, got {array.dtype}")
    if chunk.valid.shape != chunk.data.shape[:1]:
        raise ValueError(
            f"valid of a chunk of stage {name!r} must have shape {chunk.data.shape[:1]}, got {chunk.valid.shape}"
        )
    return make_chunk(
        np.ascontiguousarray(chunk.data),
        chunk.timestamps,
        chunk.first_sample,
        np.ascontiguousarray(chunk.valid),
        chunk.info,
    )


def refuse_start(name: str, next_sample: int, first_sample: int) -> None:
    """Refuse a chunk that does not begin at ``next_sample``, or below 0 where that is -1: no sample was seen yet.

    Raises
    ------
    ValueError
        With what to do.
    """
    if next_sample >= 0:
        raise ValueError(
            f"first_sample of stage {name!r} must be {next_sample} (the row after the last one), "
            f"got {first_sample!r}; call reset() where samples are missing"
        )
    if first_sample < 0:
        raise ValueError(f"first_sample of stage {name!r} must be >= 0, got {first_sample!r}")


def _known(name: str, channels: Sequence[str]) -> str:
    """Return which channels there are and which of them is meant, or of many only what is meant."""
    hint = did_you_mean(name, channels)
    if len(channels) <= _FEW:
        return f" ({', '.join(channels)}){hint}"
    return hint or f" ({', '.join(channels[:_FEW])} and {len(channels) - _FEW} more)"


def channel_indices(names: Iterable[str], info: StreamInfo, field: str) -> list[int]:
    """Return where the named channels are.

    Raises
    ------
    ConfigError
        If the stream has no such channel or a name comes twice; one line per fault, each names the field.
    """
    places = {name: i for i, name in enumerate(info.ch_names)}
    indices: list[int] = []
    faults: list[str] = []
    for i, name in enumerate(names):
        if name not in places:
            faults.append(f"{field}.{i} must be a channel of the stream{_known(name, info.ch_names)}, got {name!r}")
        elif places[name] in indices:
            faults.append(f"{field}.{i} must be named once, got {name!r} again")
        else:
            indices.append(places[name])
    if faults:
        raise ConfigError(*faults)
    return indices


def with_channels(info: StreamInfo, indices: Sequence[int]) -> StreamInfo:
    """Return a stream that has some of its channels only, in this order."""
    return dataclasses.replace(
        info,
        ch_names=tuple(info.ch_names[i] for i in indices),
        ch_types=tuple(info.ch_types[i] for i in indices),
        ch_units=tuple(info.ch_units[i] for i in indices),
    )


def wrong_channels(name: str, expected: int, got: int) -> ValueError:
    """Return the error for a chunk with another number of channels."""
    return ValueError(f"chunk of stage {name!r} must have {expected} channels, got {got!r}")


def load_state(state: Mapping[str, NDArray[Any]], targets: Mapping[str, NDArray[Any]]) -> None:
    """Copy arrays of a state into a stage's own, all or nothing.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or an array has another shape or type.
    """
    if set(state) != set(targets):
        raise ValueError(f"state must have the keys {sorted(targets)}, got {sorted(state)}")
    for key, target in targets.items():
        array = state[key]
        if array.shape != target.shape or array.dtype != target.dtype:
            raise ValueError(
                f"state[{key!r}] must be {target.dtype} of shape {target.shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
    for key, target in targets.items():
        np.copyto(target, state[key])
