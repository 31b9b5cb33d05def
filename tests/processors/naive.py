"""Slow, obvious twins of the stages, and the streams that the tests feed them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo, make_chunk
from neuroloop.stream.contracts.protocols import Processor


def stream_info(
    n_channels: int, sfreq: float = 100.0, names: Sequence[str] | None = None, types: Sequence[str] | None = None
) -> StreamInfo:
    """Describe a stream in microvolts."""
    return StreamInfo(
        "amp",
        "EEG",
        "amp-1",
        sfreq,
        tuple(names or (f"c{i}" for i in range(n_channels))),
        tuple(types or ("EEG",) * n_channels),
        ("uV",) * n_channels,
    )


EXAMPLE_INFO = stream_info(4, names=("C3", "C4", "Cz", "EOG"), types=("EEG", "EEG", "EEG", "EOG"))
"""What the examples of the registry are for."""


def as_chunk(x: FloatArray, info: StreamInfo, first_sample: int = 0, valid: BoolArray | None = None) -> Chunk:
    """Wrap copies of rows; the stamp of row ``g`` is ``10 + g / sfreq``."""
    stamps = 10.0 + np.arange(first_sample, first_sample + len(x)) / (info.sfreq or 1.0)
    flags = np.ones(len(x), np.bool_) if valid is None else valid.copy()
    return make_chunk(np.array(x, np.float64), stamps, first_sample, flags, info)


def run(stage: Processor, chunk: Chunk, cuts: Iterable[int] = ()) -> Chunk:
    """Process a chunk cut at local rows and put the pieces together again; checks their numbering."""
    edges = [0, *sorted(cuts), len(chunk)]
    parts = [stage.process(chunk.slice(a, b)) for a, b in itertools.pairwise(edges)]
    for before, after in itertools.pairwise(parts):
        assert after.first_sample == before.next_sample
    return make_chunk(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        parts[0].first_sample,
        np.concatenate([part.valid for part in parts]),
        stage.info_out,
    )


def assert_same(a: Chunk, b: Chunk) -> None:
    """Compare two chunks bit for bit."""
    assert a.first_sample == b.first_sample
    assert a.data.tobytes() == b.data.tobytes()
    assert a.timestamps.tobytes() == b.timestamps.tobytes()
    np.testing.assert_array_equal(a.valid, b.valid)


def expected_valid(stage: Processor, good: BoolArray, start: int, rows: range) -> BoolArray:
    """Say which output rows may be valid: the newest input row and ``warmup_samples`` before it are good."""
    flags = []
    for k in rows:
        newest = stage.newest_input(k) - start
        oldest = newest - stage.warmup_samples
        flags.append(oldest >= 0 and bool(good[oldest : newest + 1].all()))
    return np.array(flags, np.bool_)


def sections(x: FloatArray, sos: FloatArray, zi: FloatArray) -> FloatArray:
    """Run a cascade one row and one section at a time; every section is primed by its own first input."""
    x = x.copy()
    for (b0, b1, b2, _, a1, a2), (unit1, unit2) in zip(sos, zi, strict=True):
        z1, z2 = unit1 * x[0], unit2 * x[0]
        for i, row in enumerate(x.copy()):
            y = b0 * row + z1
            z1 = (b1 * row + z2) - a1 * y
            z2 = b2 * row - a2 * y
            x[i] = y
    return x


def held(x: FloatArray) -> FloatArray:
    """Replace what is not finite by the channel's last finite value, 0 before the first."""
    x = x.copy()
    for c in range(x.shape[1]):
        last = 0.0
        for i in range(len(x)):
            if np.isfinite(x[i, c]):
                last = x[i, c]
            x[i, c] = last
    return x


def windows(x: FloatArray, start: int, window: int, hop: int) -> tuple[int, list[FloatArray]]:
    """Return the first window's number and every whole window of rows that begin at global index ``start``."""
    first = -(-start // hop)
    cut = []
    k = first
    while k * hop + window <= start + len(x):
        cut.append(x[k * hop - start : k * hop - start + window])
        k += 1
    return first, cut
