"""What a drift monitor costs per sample and channel: against a kernel that only sums blocks, and against river.

64 channels at 1 kHz in chunks of 32, windows of 30 s every 7.5 s; the monitor is armed, so that every check is scored.

What limits the rows
--------------------
A rolling mean needs the sum of a block at the least, a rolling standard deviation the sum of its squares too: those are
the two limits. The bare kernel reads each value once, tests it, subtracts the block's shift, squares and counts it. The
whole call adds about a microsecond of Python and dispatch a chunk. A
check (once per 7,500 rows) merges four blocks and scores 64 channels; it vanishes in the mean. A baseline that is taken
from the stream freezes once, at its end: sorting and autocorrelation of 64 channels take the time that the last line
says, which is why a live loop should rather be given a file of ``neuroloop baseline make``.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numba import float64, int64, void

from benchmarks.filter import SFREQ, chunks_of, stream
from benchmarks.measure import LeftOut, Row, compare
from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.config.kernels import kernel
from neuroloop.processors.drift.moments import RollingMoments
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.processors.stages.input_guard import ROWS
from neuroloop.stream.contracts.chunks import Chunk, FloatArray

N_CHANNELS, CHUNK, N_CHUNKS = 64, 32, 1000
BASELINE_S = 300.0


@kernel(void(ROWS, int64, int64, float64[::1]))
def _only_sum(x: FloatArray, start: int, stop: int, total: FloatArray) -> None:
    """Add rows to block sums, four rows a pass: the least that any rolling mean must do."""
    i = start
    while i + 4 <= stop:
        for c in range(x.shape[1]):
            total[c] = (((total[c] + x[i, c]) + x[i + 1, c]) + x[i + 2, c]) + x[i + 3, c]
        i += 4
    while i < stop:
        for c in range(x.shape[1]):
            total[c] += x[i, c]
        i += 1


@kernel(void(ROWS, int64, int64, float64[:, ::1]))
def _sum_and_squares(x: FloatArray, start: int, stop: int, sums: FloatArray) -> None:
    """Add rows and their squares to block sums: the least that a rolling mean and standard deviation must do."""
    total, squares = sums[0], sums[1]
    i = start
    while i + 4 <= stop:
        for c in range(x.shape[1]):
            x0, x1, x2, x3 = x[i, c], x[i + 1, c], x[i + 2, c], x[i + 3, c]
            total[c] = (((total[c] + x0) + x1) + x2) + x3
            squares[c] = (((squares[c] + x0 * x0) + x1 * x1) + x2 * x2) + x3 * x3
        i += 4
    while i < stop:
        for c in range(x.shape[1]):
            total[c] += x[i, c]
            squares[c] += x[i, c] * x[i, c]
        i += 1


def _limit(chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of what a mean alone needs."""
    total = np.zeros(N_CHANNELS)

    def batch() -> int:
        for chunk in chunks:
            _only_sum(chunk.data, 0, CHUNK, total)
        return len(chunks)

    return batch


def _limit_of_both(chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of what mean and standard deviation need."""
    sums = np.zeros((2, N_CHANNELS))

    def batch() -> int:
        for chunk in chunks:
            _sum_and_squares(chunk.data, 0, CHUNK, sums)
        return len(chunks)

    return batch


def _kernel(chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of the bare moments."""
    moments = RollingMoments(N_CHANNELS, hop=7500, n_blocks=4)

    def batch() -> int:
        for chunk in chunks:
            row = 0
            while row < CHUNK:
                row = moments.add(chunk.data, chunk.valid, chunk.first_sample, row)
        moments.reset()
        return len(chunks)

    return batch


def armed_monitor(chunks: list[Chunk]) -> tuple[DriftMonitor, float]:
    """Return a monitor with a frozen baseline from the stream, and how long the freezing chunk took in seconds."""
    settings = DriftMonitorSettings.model_validate({"baseline": {"minutes": BASELINE_S / 60.0}})
    monitor = DriftMonitor(settings, chunks[0].info)
    slowest, first = 0.0, 0
    while monitor.baseline is None:
        for chunk in chunks:
            moved = Chunk(chunk.data, chunk.timestamps, first, chunk.valid, chunk.info)
            begin = time.perf_counter()
            monitor.observe(moved)
            slowest = max(slowest, time.perf_counter() - begin)
            first += CHUNK
    return monitor, slowest


def _monitor(monitor: DriftMonitor, chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of whole ``observe`` calls."""

    def batch() -> int:
        monitor.reset()
        for chunk in chunks:
            monitor.observe(chunk)
        return len(chunks)

    return batch


def _river(chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of river's rolling mean and variance, value by value, over a few chunks of one channel in 16."""
    stats, utils = (importlib.import_module(f"river.{name}") for name in ("stats", "utils"))
    channels = range(0, N_CHANNELS, 16)
    rolling = {c: (utils.Rolling(stats.Mean(), 30_000), utils.Rolling(stats.Var(ddof=0), 30_000)) for c in channels}

    def batch() -> int:
        for chunk in chunks[: N_CHANNELS // len(channels)]:  # as many values as one chunk of all channels
            for c in channels:
                mean, variance = rolling[c]
                for value in chunk.data[:, c].tolist():
                    mean.update(value)
                    variance.update(value)
        return 1

    return batch


def _note(ours_us: float, peer_us: float) -> str:
    n = N_CHANNELS * CHUNK
    return f"{ours_us * 1e3 / n:.2f} against {peer_us * 1e3 / n:.2f} ns per sample and channel"


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return 2 * 2 + 1


def rows(quick: bool) -> Iterator[Row | LeftOut]:
    """Measure the bare kernel and the whole call against the limit, and the whole call against river."""
    x = np.random.default_rng(3).standard_normal((N_CHUNKS * CHUNK, N_CHANNELS))
    chunks = chunks_of(x, CHUNK, stream(N_CHANNELS))
    monitor, slowest_s = armed_monitor(chunks)
    case = f"{N_CHANNELS} ch x {CHUNK} samples"
    whole = _monitor(monitor, chunks)
    limits = (("block sums of x", _limit(chunks)), ("block sums of x and x^2", _limit_of_both(chunks)))
    for what, ours in (("kernel", _kernel(chunks)), ("observe", whole)):
        for name, limit in limits:
            yield compare("drift", f"{case}, {what}", ours, name, limit, quick=quick, note=_note)
    name = "river Rolling(Mean), Rolling(Var)"
    try:
        river = _river(chunks)
    except ImportError as error:
        yield LeftOut("drift", f"{case}, observe | {name}", f"{error} (extra 'bench')")
    else:
        yield compare("drift", f"{case}, observe", whole, name, river, quick=quick, note=_note)
    freeze = f"freezing a stream's baseline takes one chunk of {slowest_s * 1e3:.0f} ms, once ({SFREQ:g} Hz)"
    print(f"drift: {freeze}", file=sys.stderr)


if __name__ == "__main__":
    for line in rows(quick=False):
        print(line)
