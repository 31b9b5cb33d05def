"""Time two ways of doing the same thing beside each other.

Both run in turns within one process on one core, so that whatever else the machine does hits both alike; the clock is
the processor time of the thread, which waiting for a core does not enter. A segment is
a few batches of each, in turns; its figure is the median batch. Reported are the median over the segments and, as
spread, the distance between their 10th and 90th percentile; the ratio is formed per segment.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a benchmark table; times in microseconds per call, ``ratio`` is peer over ours."""

    topic: str
    case: str
    ours_us: float
    ours_spread: float
    peer: str
    peer_us: float
    peer_spread: float
    ratio: float
    ratio_spread: float
    note: str = ""

    def __str__(self) -> str:
        return (
            f"{self.topic} | {self.case} | {self.ours_us:.3g} ({self.ours_spread:.2g}) us | "
            f"{self.peer} {self.peer_us:.3g} ({self.peer_spread:.2g}) us | "
            f"ratio {self.ratio:.3g} ({self.ratio_spread:.2g}) | {self.note}"
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that cannot be measured here, and why; it takes the row's place."""

    topic: str
    case: str
    reason: str

    def __str__(self) -> str:
        return f"{self.topic} | {self.case} | left out: {self.reason}"


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core where the system allows it; undone at the end."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def middle(values: list[float]) -> tuple[float, float]:
    """Return the median, and the distance between the 10th and the 90th percentile."""
    if len(values) < 2:
        return values[0], 0.0
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return statistics.median(values), tenths[-1] - tenths[0]


def compare(
    topic: str,
    case: str,
    ours: Callable[[], int],
    peer_name: str,
    peer: Callable[[], int],
    *,
    quick: bool,
    note: Callable[[float, float], str] | str = "",
) -> Row:
    """Time two functions in turns.

    Parameters
    ----------
    topic, case, peer_name : str
        What the row says.
    ours, peer : callable
        Runs a batch and returns how many calls it made.
    quick : bool
        Fewer segments, for a check that the benchmark works.
    note : str or callable
        Free text, or made from the two medians in microseconds.
    """
    n_segments, n_batches = (3, 3) if quick else (15, 9)
    segments: list[tuple[float, float]] = []
    with one_core():
        for function in (ours, peer):
            function()
        for _ in range(n_segments):
            figures: tuple[list[float], list[float]] = ([], [])
            for _ in range(n_batches):
                for function, times in zip((ours, peer), figures, strict=True):
                    begin = time.thread_time_ns()
                    n_calls = function()
                    times.append((time.thread_time_ns() - begin) / n_calls / 1e3)
            segments.append((statistics.median(figures[0]), statistics.median(figures[1])))
    ours_us, ours_spread = middle([a for a, _ in segments])
    peer_us, peer_spread = middle([b for _, b in segments])
    ratio, ratio_spread = middle([b / a for a, b in segments])
    text = note if isinstance(note, str) else note(ours_us, peer_us)
    return Row(topic, case, ours_us, ours_spread, peer_name, peer_us, peer_spread, ratio, ratio_spread, text)
