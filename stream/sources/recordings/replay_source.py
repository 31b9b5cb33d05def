"""A recorded stream as a source of raw blocks, cut as a sender might cut them."""

from __future__ import annotations

import re

import numpy as np

from neuroloop.config.errors import ConfigError, StreamEnded
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.sources.recordings.recording import RecordedStream

DEFAULT_BLOCK_SAMPLES = 256
"""Enough that the work per block does not show at full speed; who plays in real time names a smaller one."""
_LARGEST_RANDOM = 200


class RecordingSource:
    """Hands out a recorded stream block by block; a `neuroloop.stream.contracts.protocols.Source` that never waits.

    Parameters
    ----------
    stream : RecordedStream
    chunking : str, optional
        ``N``: blocks of N samples. ``random:SEED``: sizes from 0 to 200, drawn by NumPy's PCG64 generator with that
        seed, empty blocks included. Without it blocks have `DEFAULT_BLOCK_SAMPLES` samples.

    Raises
    ------
    ConfigError
        If ``chunking`` is neither.
    """

    def __init__(self, stream: RecordedStream, *, chunking: str | None = None) -> None:
        self._stream = stream
        self._rows = RawBlock(stream.data, stream.timestamps, stream.sample_numbers, stream.valid)
        self._next = 0
        self._block, self._random = _parse_chunking(chunking)

    @property
    def info(self) -> StreamInfo:
        """The stream as the file describes it."""
        return self._stream.info

    @property
    def n_left(self) -> int:
        """Samples that have not been handed out."""
        return self._stream.n_samples - self._next

    def read(self, timeout_s: float = 0.0) -> RawBlock:
        """Return the next samples.

        Returns
        -------
        RawBlock
            Read-only views of the recording; the stamps are the file's own.

        Raises
        ------
        StreamEnded
            If every sample has been handed out.
        """
        stream = self._stream
        if self._next >= stream.n_samples:
            raise StreamEnded(f"recorded stream {stream.info.name!r} is over after {stream.n_samples} samples")
        size = self._block if self._random is None else int(self._random.integers(0, _LARGEST_RANDOM + 1))
        start, self._next = self._next, min(self._next + size, stream.n_samples)
        return self._rows.rows(start, self._next)

    def close(self) -> None:
        """Release nothing: the recording is in memory."""


def _parse_chunking(chunking: str | None) -> tuple[int, np.random.Generator | None]:
    """Return the block size, and a generator where sizes are random."""
    if chunking is None:
        return DEFAULT_BLOCK_SAMPLES, None
    match = re.fullmatch(r"(?P<random>random:)?(?P<number>\d{1,18})", chunking.strip())
    if match is None or (not match["random"] and int(match["number"]) == 0):
        raise ConfigError(f"chunking must be a number of samples > 0 or random:SEED, got {chunking!r}")
    number = int(match["number"])
    return (0, np.random.Generator(np.random.PCG64(number))) if match["random"] else (number, None)
