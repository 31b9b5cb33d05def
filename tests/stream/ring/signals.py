"""Chunks whose every number follows from the sample number, and the check that they came whole."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from neuroloop.stream.contracts.chunks import Chunk, StreamInfo, make_chunk
from neuroloop.stream.contracts.shared_memory import SampleRows
from neuroloop.stream.ring.event_reader import EventRingReader
from neuroloop.stream.ring.sample_reader import SampleRingReader

INFO = StreamInfo("ring-test", "EEG", "id", 1000.0, ("number", "negative"), ("misc", "misc"), ("", ""))

JUMP = 5000
"""Sample numbers left out at each jump of a hammering writer."""


def numbered_chunk(first: int, n_samples: int) -> Chunk:
    """Channel 0 is the sample number, everything else a function of it."""
    number = np.arange(first, first + n_samples)
    data = np.empty((n_samples, 2))
    data[:, 0] = number
    data[:, 1] = -number
    return make_chunk(data, number / 1000.0, first, number % 3 != 0, INFO)


def assert_whole(rows: SampleRows) -> None:
    """No row is torn, and none has another's number."""
    chunk = rows.chunk
    number = np.arange(chunk.first_sample, chunk.next_sample)
    np.testing.assert_array_equal(chunk.data[:, 0], number)
    np.testing.assert_array_equal(chunk.data[:, 1], -number)
    np.testing.assert_array_equal(chunk.timestamps, number / 1000.0)
    np.testing.assert_array_equal(chunk.valid, number % 3 != 0)
    assert len(rows.arrival_ns) == len(chunk)


def has_ended(reader: SampleRingReader | EventRingReader) -> bool:
    """Ask the reader anew (type checkers take a property for a constant)."""
    return reader.is_ended


def check_to_end(reader: SampleRingReader, max_samples: int) -> int:
    """Read until the writer is gone: what is not in the rows is a jump or was counted; return the next sample."""
    next_sample = 0
    while not reader.is_ended:
        reader.wait(10.0)
        rows = reader.read(max_samples)
        assert_whole(rows)
        next_sample += rows.n_lost
        if len(rows.chunk):
            n_jumps, rest = divmod(rows.chunk.first_sample - next_sample, JUMP)
            assert n_jumps >= 0
            assert rest == 0
            next_sample = rows.chunk.next_sample
    return next_sample


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Look again and again until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.002)
