"""What every stage does before it computes: check the sample numbers, hold what is not a number.

A value that is not finite, or larger than `LIMIT`, is replaced by its channel's last good value (0 before the first)
and its row is flagged. So no NaN ever enters a recursive filter, and what a stage puts out is finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numba import boolean, float64, int64, types
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StreamInfo

LIMIT = 1e100
"""Magnitudes beyond it count as not finite: their squares and filter states would overflow."""

FIRST_ROW, LAST_BAD = 0, 1
"""Places in a windowed stage's integer state: the first window since the start, the newest flagged input row.

They stand here because the cache of compiled kernels is keyed by the files that hold kernels.
"""

_FLOAT64, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)

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


def is_plain(data: FloatArray, valid: BoolArray) -> bool:
    """Return whether a chunk's C-ordered rows and its flags may go to a kernel by `neuroloop.config.kernels.direct`."""
    return data.dtype is _FLOAT64 and valid.dtype is _BOOL and valid.ndim == 1 and valid.flags.c_contiguous


class Cursor:
    """Where a stage stands in the global index; refuses a chunk that does not continue the one before."""

    __slots__ = ("name", "next_sample")

    def __init__(self, name: str) -> None:
        self.name = name
        self.next_sample = -1
        """Global index of the row to come; -1 before the first."""

    def start(self, first_sample: int) -> None:
        """Begin at a global index.

        Raises
        ------
        ValueError
            If the stage has begun already: its chunk should have continued at `next_sample`.
        """
        if self.next_sample >= 0:
            raise ValueError(
                f"first_sample of stage {self.name!r} must be {self.next_sample} (the row after the last one), "
                f"got {first_sample!r}; call reset() where samples are missing"
            )
        if first_sample < 0:
            raise ValueError(f"first_sample of stage {self.name!r} must be >= 0, got {first_sample!r}")


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
            faults.append(f"{field}.{i} must be a channel of the stream ({', '.join(info.ch_names)}), got {name!r}")
        elif places[name] in indices:
            faults.append(f"{field}.{i} must be named once, got {name!r} again")
        else:
            indices.append(places[name])
    if faults:
        raise ConfigError(*faults)
    return indices


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
