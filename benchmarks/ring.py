"""Ring buffers: appending, looking back, ringing, and waking a reader in another process.

Peers: a buffer that is shifted by ``np.roll`` (what most stream viewers do) for appending rows, pipes for the rest.
Latencies are from before the append to after the read, one row of 64 channels every millisecond.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from statistics import quantiles

import numpy as np

from benchmarks.measure import Row
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StreamInfo, make_chunk
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.samples import SampleRing

CAPACITY = 10_000
ROLLED_ROWS = 2500
PERIOD_NS = 1_000_000
APPENDED = ((1, 32), (1, 64), (32, 64))
"""(n_samples, n_channels) of what is appended."""


def stream_info(n_channels: int) -> StreamInfo:
    """Describe a stream of 1 kHz."""
    names = tuple(f"c{k}" for k in range(n_channels))
    return StreamInfo("bench", "EEG", "bench", 1000.0, names, ("eeg",) * n_channels, ("uV",) * n_channels)


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return len(APPENDED) + 6


def rows(quick: bool) -> Iterator[Row]:
    """Measure everything; ``quick`` makes fewer repetitions.

    Parameters
    ----------
    quick : bool

    Yields
    ------
    Row
    """
    n_calls, n_repeats, n_wakes = (300, 5, 300) if quick else (2000, 15, 3000)
    for n_samples, n_channels in APPENDED:
        ours = _append_us(n_samples, n_channels, n_calls, n_repeats)
        peer = _roll_us(n_samples, n_channels, n_calls // 10, n_repeats)
        yield _row(f"append {n_samples} x {n_channels}", ours, "np.roll", peer, f"peer holds {ROLLED_ROWS} rows")
    yield _row("window of 256 x 64", _window_us(n_calls, n_repeats), "copy of it", _copy_us(n_calls, n_repeats))
    ours, peer = _event_us(n_calls, n_repeats), _pipe_write_us(b"x" * 300, 100, n_repeats)
    yield _row("append a record of 300 bytes", ours, "os.write to a pipe", peer)
    ours, peer = _notify_us(n_calls, n_repeats), _pipe_write_us(b"x", 1000, n_repeats)
    yield _row("notify, nobody sleeps", ours, "os.write to a pipe", peer)
    (ours, notify_us), (peer, send_us) = _wake_by_ring(n_wakes), _wake_by_pipe(n_wakes)
    yield _row("notify, a reader sleeps", notify_us, "multiprocessing.Pipe", send_us, "peer's rows are in it")
    for label, k in (("p50", 49), ("p99", 98)):
        yield _row(
            f"wake another process, {label}", _parts(ours, k), "multiprocessing.Pipe", _parts(peer, k), "5 parts"
        )


def _parts(us: list[float], k: int) -> list[float]:
    """Return a percentile of each fifth of the figures."""
    n = len(us) // 5
    return [quantiles(us[part * n : (part + 1) * n], n=100)[k] for part in range(5)]


def _row(case: str, ours: list[float], peer: str, theirs: list[float], note: str = "") -> Row:
    """Make a row of medians and distances between quartiles; a ratio above 1 says that ours is faster."""
    n = min(len(ours), len(theirs))
    ratios = [their / our for our, their in zip(ours[:n], theirs[:n], strict=True)]
    return Row("ring", case, *_middle(ours), peer, *_middle(theirs), *_middle(ratios), note)


def _middle(us: list[float]) -> tuple[float, float]:
    """Return the median and the distance between the quartiles."""
    low, middle, high = quantiles(us, n=4)
    return middle, high - low


def _time_us(call: Callable[[], object], n_calls: int, n_repeats: int) -> list[float]:
    """Time a call; one figure per repetition, in microseconds."""
    call()
    figures = []
    for _ in range(n_repeats):
        begin = time.perf_counter_ns()
        for _ in range(n_calls):
            call()
        figures.append((time.perf_counter_ns() - begin) / n_calls / 1000.0)
    return figures


def _append_us(n_samples: int, n_channels: int, n_calls: int, n_repeats: int) -> list[float]:
    info = stream_info(n_channels)
    data = np.random.default_rng(0).standard_normal((n_samples, n_channels))
    stamps, valid = np.zeros(n_samples), np.ones(n_samples, np.bool_)
    figures = []
    with Bell() as bell, SampleRing.shared(info, CAPACITY, bell=bell, readers=("r",)) as ring, ring.writer() as writer:
        for _ in range(n_repeats + 1):
            chunks = [make_chunk(data, stamps, writer.head + k * n_samples, valid, info) for k in range(n_calls)]
            begin = time.perf_counter_ns()
            for chunk in chunks:
                writer.append(chunk, 1)
            figures.append((time.perf_counter_ns() - begin) / n_calls / 1000.0)
    return figures[1:]


def _roll_us(n_samples: int, n_channels: int, n_calls: int, n_repeats: int) -> list[float]:
    data = np.random.default_rng(0).standard_normal((n_samples, n_channels))
    held: list[FloatArray] = [np.zeros((ROLLED_ROWS, n_channels))]

    def append() -> None:
        held[0] = np.roll(held[0], -n_samples, axis=0)
        held[0][-n_samples:] = data

    return _time_us(append, n_calls, n_repeats)


def _full_ring(info: StreamInfo) -> SampleRing:
    return SampleRing.private(info, CAPACITY)


def _ones(info: StreamInfo, n_samples: int) -> Chunk:
    return make_chunk(np.ones((n_samples, info.n_channels)), np.ones(n_samples), 0, np.ones(n_samples, np.bool_), info)


def _window_us(n_calls: int, n_repeats: int) -> list[float]:
    info = stream_info(64)
    with _full_ring(info) as ring, ring.writer() as writer:
        writer.append(_ones(info, CAPACITY))
        return _time_us(lambda: writer.window(CAPACITY - 1, 256), n_calls, n_repeats)


def _copy_us(n_calls: int, n_repeats: int) -> list[float]:
    newest = np.ones((CAPACITY, 64))[-256:]
    return _time_us(newest.copy, n_calls, n_repeats)


def _event_us(n_calls: int, n_repeats: int) -> list[float]:
    record = b"x" * 300
    with EventRing.private(1 << 20) as ring, ring.writer() as writer:
        return _time_us(lambda: writer.append(record), n_calls, n_repeats)


def _notify_us(n_calls: int, n_repeats: int) -> list[float]:
    with Bell() as bell:
        return _time_us(bell.notify, n_calls, n_repeats)


def _pipe_write_us(message: bytes, n_calls: int, n_repeats: int) -> list[float]:
    """Time writing into a pipe that is emptied outside the measurement."""
    out, into = os.pipe()
    figures = []
    for _ in range(n_repeats):
        figures += _time_us(lambda: os.write(into, message), n_calls, 1)
        os.read(out, len(message) * (n_calls + 1))
    os.close(out)
    os.close(into)
    return figures


def _wake_by_ring(n_wakes: int) -> tuple[list[float], list[float]]:
    """Return latencies and the time that the writer spent in `notify`, in microseconds."""
    info = stream_info(64)
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    notify_us = []
    row = _ones(info, 1)
    with Bell() as bell, SampleRing.shared(info, CAPACITY, bell=bell, readers=("r",)) as ring:
        other = spawn.Process(target=_follow_ring, args=(ring, there), daemon=True)
        other.start()
        here.recv()
        with ring.writer() as writer:
            due = time.perf_counter_ns()
            for k in range(n_wakes):
                due = _sleep_until(due + PERIOD_NS)
                chunk = make_chunk(row.data, row.timestamps, k, row.valid, info)
                writer.append(chunk, time.perf_counter_ns())
                begin = time.perf_counter_ns()
                writer.notify()
                notify_us.append((time.perf_counter_ns() - begin) / 1000.0)
        latencies = here.recv()
        other.join()
    return latencies, notify_us


def _follow_ring(ring: SampleRing, results: Connection) -> None:
    latencies = []
    with ring, ring.reader("r") as reader:
        results.send("ready")
        while not reader.is_ended:
            reader.wait(1.0)
            arrival_ns = reader.read(1000).arrival_ns
            now = time.perf_counter_ns()
            latencies += [(now - int(arrival)) / 1000.0 for arrival in arrival_ns]
            reader.commit()
    results.send(latencies)


def _wake_by_pipe(n_wakes: int) -> tuple[list[float], list[float]]:
    """Return latencies of the same rows sent through a pipe, and the time spent in sending, in microseconds."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    row = np.ones(65)
    send_us = []
    other = spawn.Process(target=_follow_pipe, args=(there, n_wakes), daemon=True)
    other.start()
    here.recv()
    due = time.perf_counter_ns()
    for _ in range(n_wakes):
        due = _sleep_until(due + PERIOD_NS)
        row[64:].view(np.int64)[0] = time.perf_counter_ns()
        begin = time.perf_counter_ns()
        here.send_bytes(row.tobytes())
        send_us.append((time.perf_counter_ns() - begin) / 1000.0)
    latencies: list[float] = here.recv()
    other.join()
    return latencies, send_us


def _follow_pipe(pipe: Connection, n_wakes: int) -> None:
    latencies = []
    pipe.send("ready")
    for _ in range(n_wakes):
        row = np.frombuffer(pipe.recv_bytes())
        latencies.append((time.perf_counter_ns() - int(row[64:].view(np.int64)[0])) / 1000.0)
    pipe.send(latencies)


def _sleep_until(due_ns: int) -> int:
    """Sleep until a moment of ``time.perf_counter_ns`` and return it."""
    time.sleep(max(0, due_ns - time.perf_counter_ns()) / 1e9)
    return due_ns
