"""What is held out: contiguous blocks of file numbers, all sets at once.

Neighbouring files of a set come from one person and one session more often than distant ones, and who is who was never
published. Holding out a contiguous block is therefore closer to a new person than drawing recordings at random; drawing
rows at random would put 22 of a recording's 23 rows beside the one that is tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import RecordingError
from neuroloop.config.training import SplitSettings
from neuroloop.stream.contracts.chunks import BoolArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Which windows train, stop the training early, and test; no recording is in two of them.

    Parameters
    ----------
    label : str
        File numbers of the test block, such as ``1-20``; ``none`` where nothing is tested.
    stop_label : str
        File numbers of the early-stopping block.
    train, stop, test : array of bool, shape (n_windows,)
    """

    label: str
    stop_label: str
    train: BoolArray
    stop: BoolArray
    test: BoolArray


def _label(block: int, first: int, size: int, block_size: int) -> str:
    start = block * block_size + first
    return f"{start}-{start + size - 1}"


def _fold(numbers: IntArray, blocks: list[int], position: int, settings: SplitSettings, *, tested: bool) -> Fold:
    """Make the fold whose test block stands at ``position``; the next block gives the early-stopping one."""
    size = settings.block_size
    stop_block = blocks[(position + 1) % len(blocks)] if tested else blocks[0]
    in_block = (numbers - 1) // size
    test = (in_block == blocks[position]) if tested else np.zeros(len(numbers), np.bool_)
    within = (numbers - 1) % size
    held = within[in_block == stop_block]
    first = int(held.min()) if len(held) else 0
    stop = (in_block == stop_block) & (within < first + settings.stop_size)
    label = _label(blocks[position], 1, size, size) if tested else "none"
    return Fold(label, _label(stop_block, first + 1, settings.stop_size, size), ~test & ~stop, stop, test)


def block_folds(numbers: IntArray, settings: SplitSettings) -> list[Fold]:
    """Return one fold per block of file numbers.

    The early-stopping block is the beginning of the block after the tested one, cyclically.

    Parameters
    ----------
    numbers : array, shape (n_windows,)
        File number of the recording that each window comes from, from 1.
    settings : SplitSettings

    Returns
    -------
    list of Fold

    Raises
    ------
    RecordingError
        If there are fewer than two blocks.
    """
    blocks = sorted({int(block) for block in (numbers - 1) // settings.block_size})
    if len(blocks) < 2:
        raise RecordingError(
            f"data must have recordings in at least 2 blocks of {settings.block_size}, got {len(blocks)}"
        )
    return [_fold(numbers, blocks, position, settings, tested=True) for position in range(len(blocks))]


def final_fold(numbers: IntArray, settings: SplitSettings) -> Fold:
    """Return the fold of the bundle's own training: all but the early-stopping block, which begins the first block."""
    blocks = sorted({int(block) for block in (numbers - 1) // settings.block_size})
    return _fold(numbers, blocks, 0, settings, tested=False)


def ids_hash(ids: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted ids, one per line."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
