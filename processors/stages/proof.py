"""What every stage must hold, as checks that need nothing but NumPy: used by the tests and by ``check --prove``.

Each check takes ``make``, which makes a fresh stage, and raises `ProofFailed` with the reason. Those that compare
numbers return the largest relative error, 0 where the bytes are equal.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk
from neuroloop.stream.contracts.protocols import Processor

Make = Callable[[], Processor]
TOLERATED = 1e-6
"""Relative error up to which a stage is tolerant; one that is further off computes something else."""
_FIRST_STAMP = 10.0
_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")


class ProofFailed(NeuroloopError):
    """A stage does not hold what every stage must."""


def as_chunk(x: FloatArray, info: StreamInfo, first_sample: int = 0, valid: BoolArray | None = None) -> Chunk:
    """Wrap copies of rows; the stamp of row ``g`` is ``10 + g / sfreq``."""
    stamps = _FIRST_STAMP + np.arange(first_sample, first_sample + len(x)) / (info.sfreq or 1.0)
    flags = np.ones(len(x), np.bool_) if valid is None else valid.copy()
    return make_chunk(np.array(x, np.float64), stamps, first_sample, flags, info)


def noise(info: StreamInfo, n_rows: int, seed: int) -> FloatArray:
    """Return rows such as an amplifier gives: noise around an offset, in the channels' own units."""
    return np.random.default_rng(seed).standard_normal((n_rows, info.n_channels)) * 30.0 + 7.0


def spoiled(info: StreamInfo, n_rows: int, seed: int, first_sample: int = 0) -> Chunk:
    """Return noise with some bad values and some rows that were never received."""
    rng = np.random.default_rng(seed)
    x = noise(info, n_rows, seed)
    x[rng.integers(0, n_rows, 3), rng.integers(0, info.n_channels, 3)] = [np.nan, np.inf, -np.inf]
    valid = np.ones(n_rows, np.bool_)
    valid[rng.integers(0, n_rows, 2)] = False
    return as_chunk(x, info, first_sample, valid)


def run(stage: Processor, chunk: Chunk, cuts: Iterable[int] = ()) -> Chunk:
    """Process a chunk cut at local rows and put the pieces together again; checks their numbering."""
    edges = [0, *sorted(cuts), len(chunk)]
    parts = [stage.process(chunk.slice(a, b)) for a, b in itertools.pairwise(edges)]
    for before, after in itertools.pairwise(parts):
        if after.first_sample != before.next_sample:
            raise ProofFailed(
                f"rows must be numbered on from chunk to chunk, got {after.first_sample} after {before.next_sample - 1}"
            )
    return make_chunk(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        parts[0].first_sample,
        np.concatenate([part.valid for part in parts]),
        stage.info_out,
    )


def difference(a: Chunk, b: Chunk, what: str) -> float:
    """Return the largest error of ``a``, relative to the size of ``b``; 0 if all bytes are equal.

    Raises
    ------
    ProofFailed
        If rows, stamps or flags differ, or values by more than `TOLERATED`.
    """
    if a.first_sample != b.first_sample or a.data.shape != b.data.shape:
        raise ProofFailed(
            f"{what}: rows {b.first_sample} to {b.next_sample} become {a.first_sample} to {a.next_sample}"
        )
    if a.timestamps.tobytes() != b.timestamps.tobytes():
        raise ProofFailed(f"{what}: stamps change")
    if not np.array_equal(a.valid, b.valid):
        raise ProofFailed(f"{what}: flags change in row {a.first_sample + int(np.argmax(a.valid != b.valid))}")
    if a.data.tobytes() == b.data.tobytes():
        return 0.0
    bad = np.isfinite(a.data) != np.isfinite(b.data)
    if bad.any():
        raise ProofFailed(f"{what}: values become finite or cease to be, in row {_row(a, bad)}")
    good = np.isfinite(b.data)
    size = np.sqrt(np.mean(b.data[good] ** 2)) if good.any() else 0.0
    apart = np.zeros(a.data.shape)
    apart[good] = np.abs(a.data[good] - b.data[good]) / np.maximum(np.abs(b.data[good]), size or 1.0)
    worst = float(apart.max())
    if worst > TOLERATED:
        raise ProofFailed(
            f"{what}: values change by {worst:.2g} of their size, first in row {_row(a, apart > TOLERATED)}"
        )
    return max(worst, 1e-300)  # bytes differ, if only in the sign of a zero


def _row(chunk: Chunk, where: NDArray[np.bool_]) -> int:
    """Return the number of the first row in which something is true."""
    return chunk.first_sample + int(np.argmax(where.any(axis=1)))


def cuts_of(n_rows: int, seed: int) -> list[int]:
    """Return where random chunks begin, some of them empty."""
    rng = np.random.default_rng(seed)
    cuts = rng.integers(0, n_rows + 1, 12).tolist()
    return sorted([*cuts, *cuts[:3]])


def check_chunking(make: Make, chunk: Chunk, cuts: Iterable[int]) -> float:
    """Any cutting of the input gives the same rows."""
    return difference(run(make(), chunk, cuts), make().process(chunk), "cut otherwise")


def check_resume(make: Make, chunk: Chunk, stop: int, other: Chunk) -> float:
    """Going on from a state equals never having stopped, whatever the stage saw before."""
    first, second = make(), make()
    first.process(chunk.slice(0, stop))
    second.process(other)  # something to forget
    second.set_state(first.get_state())
    rest = chunk.slice(stop, len(chunk))
    return difference(second.process(rest), first.process(rest), f"resumed at row {stop}")


def check_state_is_copy(make: Make, chunk: Chunk, stop: int) -> None:
    """A state stays as it was while the stage goes on."""
    stage = make()
    stage.process(chunk.slice(0, stop))
    state = stage.get_state()
    kept = {key: array.copy() for key, array in state.items()}
    stage.process(chunk.slice(stop, len(chunk)))
    _same_state(state, kept, "get_state() must return new arrays: going on changes what it returned")


def check_empty_chunk(make: Make, chunk: Chunk, stop: int) -> None:
    """A chunk without rows changes nothing and gives no row."""
    stage = make()
    stage.process(chunk.slice(0, stop))
    before = stage.get_state()
    out = stage.process(chunk.slice(stop, stop))
    if out.data.shape != (0, stage.info_out.n_channels):
        raise ProofFailed(f"an empty chunk must give no row, got an array of shape {out.data.shape}")
    _same_state(stage.get_state(), before, "an empty chunk must leave the state as it is")


def check_reset(make: Make, chunk: Chunk, later: Chunk) -> float:
    """After a reset a stage is a fresh one."""
    used = make()
    used.process(chunk)
    used.reset()
    _same_state(used.get_state(), make().get_state(), "reset() must leave the state of a fresh stage")
    return difference(used.process(later), make().process(later), "after reset()")


def _same_state(a: StateDict, b: StateDict, rule: str) -> None:
    """Compare two states byte by byte."""
    if a.keys() != b.keys():
        raise ProofFailed(f"{rule}, got the keys {sorted(a)} and {sorted(b)}")
    for key, array in a.items():
        if array.dtype != b[key].dtype or array.shape != b[key].shape or array.tobytes() != b[key].tobytes():
            raise ProofFailed(f"{rule}, got another {key!r}")


def check_input_untouched(make: Make, chunk: Chunk) -> None:
    """Nobody writes into what he was handed, nor hands it on."""
    data, stamps, valid = chunk.data.copy(), chunk.timestamps.copy(), chunk.valid.copy()
    theirs = make_chunk(data.copy(), stamps.copy(), chunk.first_sample, valid.copy(), chunk.info)
    for array in (theirs.data, theirs.timestamps, theirs.valid):
        array.setflags(write=True)  # a stage that writes would not be stopped
    out = make().process(theirs)
    if theirs.data.tobytes() != data.tobytes() or theirs.timestamps.tobytes() != stamps.tobytes():
        raise ProofFailed("input must not be changed, got other values in it after process()")
    if not np.array_equal(theirs.valid, valid):
        raise ProofFailed("input must not be changed, got other flags in it after process()")
    for mine in (out.data, out.timestamps, out.valid):
        if any(np.shares_memory(mine, one) for one in (theirs.data, theirs.timestamps, theirs.valid)):
            raise ProofFailed("output must own its memory, got a part of the input")


@contextmanager
def _other_clocks() -> Iterator[None]:
    """Let every clock of module `time` stand at another hour."""
    kept = {name: getattr(time, name) for name in _CLOCKS}
    for name in _CLOCKS:
        setattr(time, name, _nanoseconds if name.endswith("_ns") else _seconds)
    try:
        yield
    finally:
        for name, clock in kept.items():
            setattr(time, name, clock)


def _seconds() -> float:
    return 1e9 + 0.123


def _nanoseconds() -> int:
    return 10**18 + 123_456_789


def check_pure(make: Make, chunk: Chunk, other: Chunk) -> None:
    """The rows depend on the input alone: not on the time, on chance or on another stage of the same class."""
    alone = make().process(chunk)
    _pure(make().process(chunk), alone, "run again")
    with _other_clocks():
        _pure(make().process(chunk), alone, "at another time of day")
    one, two = make(), make()
    parts = []
    middle = len(chunk) // 2
    for part, foreign in ((chunk.slice(0, middle), other), (chunk.slice(middle, len(chunk)), None)):
        parts.append(one.process(part))
        if foreign is not None:
            two.process(foreign)
    together = run_parts(parts, one.info_out)
    two = make()
    expected = run_parts(
        [two.process(chunk.slice(0, middle)), two.process(chunk.slice(middle, len(chunk)))], two.info_out
    )
    _pure(together, expected, "beside another stage of the same class")


def run_parts(parts: Sequence[Chunk], info: StreamInfo) -> Chunk:
    """Put pieces of output together."""
    return make_chunk(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        parts[0].first_sample,
        np.concatenate([part.valid for part in parts]),
        info,
    )


def _pure(a: Chunk, b: Chunk, what: str) -> None:
    """Refuse any difference, be it ever so small."""
    if difference(a, b, what) > 0.0:
        raise ProofFailed(f"{what}: values change in their last digits")


def expected_valid(stage: Processor, good: BoolArray, start: int, rows: range) -> BoolArray:
    """Say which output rows may be valid: the newest input row and ``warmup_samples`` before it are good."""
    flags = []
    for k in rows:
        newest = stage.newest_input(k) - start
        oldest = newest - stage.warmup_samples
        flags.append(oldest >= 0 and bool(good[oldest : newest + 1].all()))
    return np.array(flags, np.bool_)


def check_bad_values(make: Make, info: StreamInfo, n_rows: int, seed: int, start: int) -> None:
    """No bad value comes out as a good one: rows are flagged, and finite and valid again after the settle time."""
    rng = np.random.default_rng(seed)
    x = noise(info, n_rows, seed)
    good = np.ones(n_rows, np.bool_)
    burst = int(rng.integers(0, n_rows - 5))
    x[burst : burst + 5] = np.nan
    good[burst : burst + 5] = False
    lost = int(rng.integers(0, n_rows))
    valid = np.ones(n_rows, np.bool_)
    valid[lost] = good[lost] = False
    stage = make()
    out = stage.process(as_chunk(x, info, start, valid))
    expected = expected_valid(stage, good, start, range(out.first_sample, out.next_sample))
    too_good = out.valid & ~expected
    if too_good.any():
        raise ProofFailed(
            f"rows that a bad value or the warm-up touches must be flagged, got a valid row "
            f"{out.first_sample + int(np.argmax(too_good))}"
        )
    lost_rows = expected & ~out.valid
    if lost_rows.any():
        raise ProofFailed(
            f"rows must be valid again after the warm-up of {stage.warmup_samples} rows, got row "
            f"{out.first_sample + int(np.argmax(lost_rows))} flagged"
        )
    _finite(out)


def check_hard_values(make: Make, info: StreamInfo, n_rows: int) -> None:
    """Zeros, constants and large values give finite rows too."""
    x = noise(info, n_rows, 5)
    third = n_rows // 3
    x[:third] = 0.0
    x[third : 2 * third] *= 1e9
    x[2 * third :] = -3.0
    _finite(make().process(as_chunk(x, info)))


def _finite(out: Chunk) -> None:
    bad = ~np.isfinite(out.data)
    if bad.any():
        raise ProofFailed(f"output must be finite, got {out.data[bad][0]!r} in row {_row(out, bad)}")


def check_newest_input(make: Make, chunk: Chunk, seed: int) -> None:
    """``newest_input`` is true: a row comes with its newest sample and does not depend on later ones."""
    stage = make()
    whole = make().process(chunk)
    rows = range(whole.first_sample, whole.next_sample)
    newest = np.array([stage.newest_input(k) for k in rows], np.int64)
    if len(newest) and not chunk.first_sample <= newest[0] <= newest[-1] < chunk.next_sample:
        raise ProofFailed(f"a row must come with the sample newest_input(k), got rows of {newest[0]} to {newest[-1]}")
    if len(newest) and not np.array_equal(whole.timestamps, chunk.timestamps[newest - chunk.first_sample]):
        raise ProofFailed("the stamp of a row must be that of newest_input(k), got another")
    if (np.diff(newest) < 0).any():
        raise ProofFailed("newest_input(k) must not fall, got a smaller one for a later row")
    rng = np.random.default_rng(seed)
    for stop in sorted({1, 2, *rng.integers(1, len(chunk), 12).tolist()}):
        sample = chunk.first_sample + stop
        part = make().process(chunk.slice(0, stop))
        due = int(np.searchsorted(newest, sample))
        if len(part) != due:
            raise ProofFailed(
                f"a row must come with the sample newest_input(k), got {len(part)} rows in place of {due} "
                f"at sample {sample}"
            )
        changed = np.array(chunk.data)
        changed[stop:] = changed[stop:] * -3.0 + 50.0
        other = make().process(as_chunk(changed, chunk.info, chunk.first_sample, chunk.valid))
        same = (other.data[:due] == whole.data[:due]) | (np.isnan(other.data[:due]) & np.isnan(whole.data[:due]))
        if not same.all():
            k = whole.first_sample + int(np.argmin(same.all(axis=1)))
            raise ProofFailed(
                f"row {k} must depend on samples up to newest_input({k}) = {newest[k - whole.first_sample]}"
                f" only, got another value when sample {sample} and later ones change"
            )


def check_warm_up(make: Make, info: StreamInfo, n_rows: int) -> None:
    """After ``warmup_samples`` a stage that began later gives what an earlier one does, nearly: most rows to 5 %."""
    x = noise(info, n_rows, 17)
    stage = make()
    start = n_rows // 3
    early = make().process(as_chunk(x, info))
    late = make().process(as_chunk(x[start:], info, start))
    if not late.valid.any():
        raise ProofFailed(
            f"some of {n_rows - start} rows must become valid, got none (warmup_samples {stage.warmup_samples})"
        )
    rows = [k for k, is_valid in zip(range(late.first_sample, late.next_sample), late.valid, strict=True) if is_valid]
    a = late.data[[k - late.first_sample for k in rows]]
    b = early.data[[k - early.first_sample for k in rows]]
    size = float(np.sqrt(np.mean(b**2))) or 1.0
    apart = float(np.quantile(np.abs(a - b).max(axis=1), 0.9)) / size  # a mark may remember a rare event for longer
    if apart > 0.05:
        raise ProofFailed(
            f"rows must have forgotten the start after warmup_samples={stage.warmup_samples}, "
            f"got {apart:.0%} of their size apart"
        )


def check_delay(make: Make, info: StreamInfo, n_rows: int) -> None:
    """``delay_s`` is plausible: a change of the signal comes out about that much later.

    Where rows come as fast as they go in and are like those, the lag at which they are most alike is within
    3 rows and half the delay; otherwise a step in amplitude and level is half way through within twice the delay. What
    shows neither is believed.
    """
    stage = make()
    sfreq = info.sfreq
    if stage.delay_s > (stage.warmup_samples + 3) / sfreq and stage.delay_s > 3 / sfreq:
        raise ProofFailed(
            f"delay_s must be at most the warm-up ({stage.warmup_samples / sfreq:g} s), got {stage.delay_s:g}"
        )
    claimed = stage.delay_s * sfreq
    out = make().process(as_chunk(noise(info, n_rows, 23), info))
    if stage.info_out.sfreq == sfreq and len(out) == n_rows:
        lag = _lag(noise(info, n_rows, 23), out.data, int(3 * claimed) + 25)
        if lag is not None and abs(lag - claimed) > 3 + 0.5 * claimed:
            raise ProofFailed(
                f"delay_s must be about {lag / sfreq:g} (where input and output are most alike), got {stage.delay_s:g}"
            )
        if lag is not None:
            return
    x = noise(info, n_rows, 29)
    step = n_rows // 2
    x[step:] = x[step:] * 20.0 + 500.0
    out = make().process(as_chunk(x, info))
    newest = np.array([stage.newest_input(k) for k in range(out.first_sample, out.next_sample)], np.int64)
    before, after = out.data[newest < step], out.data[newest >= step + 2 * stage.warmup_samples + 2]
    if len(before) < 4 or len(after) < 4:
        return
    rise = after.mean(axis=0) - before.mean(axis=0)
    column = int(np.argmax(np.abs(rise) / (before.std(axis=0) + 1e-9 + after.std(axis=0))))
    if abs(rise[column]) < 3 * (before.std(axis=0)[column] + 1e-12):
        return
    past = (out.data[:, column] - before.mean(axis=0)[column]) / rise[column] > 0.5
    crossing = int(newest[(newest >= step) & past][0]) - step
    hop = int(newest[1] - newest[0])
    if crossing > 2 * claimed + 3 + hop:
        raise ProofFailed(
            f"delay_s must be about {crossing / sfreq:g} (half way through a step), got {stage.delay_s:g}"
        )


def _lag(x: FloatArray, y: FloatArray, longest: int) -> int | None:
    """Return how many rows later ``y`` is most like ``x``; ``None`` where it never is."""
    best, found = 0.5, None
    longest = min(longest, len(x) // 2)
    for i in range(min(y.shape[1], 4)):
        for j in range(min(x.shape[1], 4)):
            for lag in range(longest):
                a, b = x[: len(x) - lag, j], y[lag:, i]
                if a.std() > 0 and b.std() > 0:
                    alike = abs(float(np.corrcoef(a, b)[0, 1]))
                    if alike > best + 1e-9:
                        best, found = alike, lag
    return found
