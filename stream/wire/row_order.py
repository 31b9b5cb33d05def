"""Rows in their order: repeated ones dropped, late ones put in place, lost ones stated.

A stream keeps its order in its partition. What disturbs it all the same: a producer that sends again after a failure, a
topic that got more partitions, a producer without idempotence. The index of a frame's first row mends that: rows below
the next expected index are dropped and counted, a frame above it is held in case the missing one comes.

How long is the matter of a hold policy, of which there are two. A run must go on: it holds a frame for a moment
(`HoldForMoment`). A worker that takes over and reads the same messages again must come to the same decisions: it holds
by what follows in the partition, and no clock decides (`HoldByFrames`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from neuroloop.stream.wire.frames import Frame

_KEPT_GAPS = 256


class Piece(NamedTuple):
    """Rows that come next.

    Parameters
    ----------
    frame : Frame
    start : int
        The first of the frame's rows that is new.
    n_lost : int
        Indices between the row before and this one that never came.
    partition, offset : int
        Where the frame stood.
    """

    frame: Frame
    start: int
    n_lost: int = 0
    partition: int = 0
    offset: int = 0

    @property
    def n_rows(self) -> int:
        """How many rows are new."""
        return len(self.frame) - self.start


class Held(NamedTuple):
    """A frame that waits for one before it, where it stood, and since when it waits in seconds."""

    frame: Frame
    partition: int
    offset: int
    since: float


class HoldPolicy(Protocol):
    """How long frames wait for one before them."""

    def is_over(self, held: Sequence[Held], now: float) -> bool:
        """Whether the first of the frames that wait must wait no longer."""
        ...


@dataclass(frozen=True, slots=True)
class HoldByFrames:
    """Hold until more than so many frames wait.

    Parameters
    ----------
    n_frames : int
        At least 1.
    """

    n_frames: int

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise ValueError(f"n_frames must be >= 1, got {self.n_frames!r}")

    def is_over(self, held: Sequence[Held], now: float) -> bool:
        """Whether too many wait."""
        return len(held) > self.n_frames


@dataclass(frozen=True, slots=True)
class HoldForMoment:
    """Hold until more than so many frames wait, or one of them for so long.

    Parameters
    ----------
    n_frames : int
    seconds : float
    """

    n_frames: int = 16
    seconds: float = 0.1

    def is_over(self, held: Sequence[Held], now: float) -> bool:
        """Whether too many wait, or for too long."""
        return len(held) > self.n_frames or now - min(one.since for one in held) >= self.seconds


class RowOrder:
    """Put the frames of one session in order by the index of their rows.

    Parameters
    ----------
    hold : HoldPolicy
        How long a frame that begins behind the next row waits; then the rows before it are given up.
    next_row : int, optional
        Index of the first row, where it is known; otherwise the first frame says it.
    first_row : int, optional
        Rows with a lower index are left out, where the first frame says where the session begins.

    Attributes
    ----------
    next_row : int or None
        Index of the row that comes next.
    counts : Counter
        Rows: ``duplicates``, ``late`` (came after their place was given up), ``lost`` (given up), ``jumped`` (the same
        where samples are counted, the sender's own gaps included), ``earlier`` (before `first_row`). Frames:
        ``reordered`` (had to wait).
    """

    def __init__(self, hold: HoldPolicy, next_row: int | None = None, *, first_row: int | None = None) -> None:
        self.next_row = next_row
        self.counts: Counter[str] = Counter()
        self._hold = hold
        self._first_row = first_row
        self._held: list[Held] = []  # by the index of their first row
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_KEPT_GAPS)

    @property
    def n_held(self) -> int:
        """How many frames wait."""
        return len(self._held)

    @property
    def oldest_held(self) -> int | None:
        """Offset of the oldest message that waits, None where none does."""
        return min((one.offset for one in self._held), default=None)

    def held_of(self, partition: int) -> list[Held]:
        """Return the frames of a partition that wait."""
        return [one for one in self._held if one.partition == partition]

    def forget(self, partition: int) -> None:
        """Leave out the frames of a partition that wait."""
        self._held = [one for one in self._held if one.partition != partition]

    def add(self, frame: Frame, offset: int, *, partition: int = 0, now: float = 0.0) -> list[Piece]:
        """Take the frame of a message; return the rows that can be processed now, in order.

        Parameters
        ----------
        frame : Frame
        offset, partition : int
            Where it stood.
        now : float
            Seconds of any clock that goes on.
        """
        if frame.first_sample == self.next_row and not self._held and len(frame):  # nearly always
            self.next_row = frame.next_sample
            return [Piece(frame, 0, 0, partition, offset)]
        one = Held(frame, partition, offset, now)
        if self.next_row is None or frame.first_sample <= self.next_row:
            pieces = self._take(one)
            return pieces + self.release(now) if self._held else pieces
        self._wait(one)
        return self.release(now)

    def release(self, now: float = 0.0) -> list[Piece]:
        """Return the rows of frames that are next, and of those that were held for long enough."""
        pieces: list[Piece] = []
        while self._held and (self._is_next(self._held[0]) or self._hold.is_over(self._held, now)):
            pieces += self._take(self._held.pop(0))
        return pieces

    def give_up(self) -> list[Piece]:
        """Wait no longer for the rows before the first frame that waits; return what can be processed then."""
        pieces = self._take(self._held.pop(0)) if self._held else []
        while self._held and self._is_next(self._held[0]):
            pieces += self._take(self._held.pop(0))
        return pieces

    def give_up_all(self) -> list[Piece]:
        """Wait for nothing any more; return what waited."""
        held, self._held = self._held, []
        return [piece for one in held for piece in self._take(one)]

    def _is_next(self, held: Held) -> bool:
        return self.next_row is None or held.frame.first_sample <= self.next_row

    def _wait(self, one: Held) -> None:
        """Let a frame wait; of several that begin with the same row the one that says most."""
        frame = one.frame
        for at, other in enumerate(self._held):
            if (other.frame.first_sample, other.partition) != (frame.first_sample, one.partition):
                continue
            if _reach(other.frame) >= _reach(frame):
                self.counts["duplicates"] += len(frame)
                return
            self.counts["duplicates"] += len(other.frame)
            self._held[at] = one._replace(offset=min(one.offset, other.offset), since=min(one.since, other.since))
            break
        else:
            self._held.append(one)
            self._held.sort(key=_first_row_of)
        self.counts["reordered"] += 1

    def _take(self, one: Held) -> list[Piece]:
        """Move on over the rows of a frame: cut off what was there before, count what is missing."""
        frame, first = one.frame, one.frame.first_sample
        start = n_lost = 0
        if self.next_row is None:
            if self._first_row is not None and first < self._first_row:
                start = min(self._first_row - first, len(frame))
                self.counts["earlier"] += start
                if start == len(frame) and not frame.last:
                    return []  # the row asked for is not in this frame
            self.next_row = first + start
        elif first < self.next_row:
            start = min(self.next_row - first, len(frame))
            n_late = self._n_late(first, first + start)
            self.counts["late"] += n_late
            self.counts["duplicates"] += start - n_late
        elif first > self.next_row:
            n_lost = first - self.next_row
            self.counts["lost" if frame.counts == "received" else "jumped"] += n_lost
            self._gaps.append((self.next_row, first))
            self.next_row = first
        if start == len(frame) and not (frame.last and frame.next_sample == self.next_row):
            return []
        self.next_row = max(self.next_row, frame.next_sample)
        return [Piece(frame, start, n_lost, one.partition, one.offset)]

    def _n_late(self, begin: int, end: int) -> int:
        """Count the rows whose place was given up before they came."""
        return sum(max(0, min(end, gap_end) - max(begin, gap_begin)) for gap_begin, gap_end in self._gaps)


def _first_row_of(held: Held) -> int:
    return held.frame.first_sample


def _reach(frame: Frame) -> tuple[int, bool]:
    """Return how much a frame says: how far it goes, and whether it is the end."""
    return frame.next_sample, frame.last
