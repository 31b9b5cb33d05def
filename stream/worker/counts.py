"""What a worker counts; its metrics read it at any time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, fields

from neuroloop.stream.contracts.shared_memory import LATENCY_BOUNDS_S


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float, n: int = 1) -> None:
        """Count ``n`` durations of the same length."""
        self.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += n
        self.total_s += seconds * n


@dataclass
class SessionCounts:
    """What one stream counted since it is here."""

    samples: int = 0
    refilled: int = 0
    duplicates: int = 0
    lost: int = 0
    reordered: int = 0
    process_ns: int = 0

    def add(self, other: SessionCounts) -> None:
        """Add what another one counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass
class WorkerCounts:
    """Everything since the start.

    Parameters
    ----------
    frames, samples : int
        Messages and rows that were processed.
    refilled, duplicates, lost, reordered, redelivered : int
        Rows that only filled windows again, rows that came again, rows given up, frames that waited, messages read
        again after a rebalance.
    markers_unreadable, markers_dropped : int
        Messages that are no markers, markers that waited for streams and were too many.
    events, predictions : Counter
        By type, by label.
    dead : Counter
        Dead letters by reason.
    snapshots, snapshot_bytes, tombstones, commits : int
    snapshot_s : float
        Processor time that snapshots took in seconds.
    restores, rebalances, retries : int
        Streams restored, assignments, warnings of the client about brokers that did not answer.
    restore_s : float
        How long the last restore took in seconds.
    process_s : float
        Time inside the pipelines in seconds.
    """

    frames: int = 0
    samples: int = 0
    refilled: int = 0
    duplicates: int = 0
    lost: int = 0
    reordered: int = 0
    redelivered: int = 0
    markers_unreadable: int = 0
    markers_dropped: int = 0
    events: Counter[str] = field(default_factory=Counter)
    predictions: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    snapshot_bytes: int = 0
    tombstones: int = 0
    commits: int = 0
    snapshot_s: float = 0.0
    restores: int = 0
    rebalances: int = 0
    retries: int = 0
    restore_s: float = 0.0
    process_s: float = 0.0
    latency: Durations = field(default_factory=Durations)
