"""Each row once and in order: frames as they arrive, repeated, out of order or with holes, become the rows of a stream.

A stream keeps its order in its partition. What disturbs it all the same: a producer that sends again after a failure, a
topic that got more partitions, a producer without idempotence. The index of a frame's first row mends that: rows below
the next expected index are dropped and counted, a frame above it is held for a moment in case the missing one comes.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from neuroloop.config.errors import WireError
from neuroloop.stream.wire.frames import Frame

COUNTS = ("duplicates", "late", "lost", "jumped", "earlier", "other_session", "restarts")
"""What `RowOrder` counts."""
HOLD_FRAMES = 16
HOLD_S = 0.1
_KEPT_GAPS = 256


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows of a frame from ``start`` on, and where the frame stood."""

    frame: Frame
    start: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Held:
    frame: Frame
    partition: int
    offset: int
    since: float


class RowOrder:
    """Order the frames of one stream.

    Parameters
    ----------
    session : int, optional
        Frames of an earlier session are left out; without it the first frame decides.
    first_index : int, optional
        Rows with a lower index are left out.
    """

    def __init__(self, session: int | None = None, first_index: int | None = None) -> None:
        self.counts: Counter[str] = Counter()
        """Rows: ``duplicates``, ``late`` (came after their place was given up), ``lost`` (between received rows),
        ``jumped`` (the same where samples are counted, the sender's own gaps included), ``earlier`` (before the row
        or the session asked for), ``other_session`` (of one that was over). Times: ``restarts`` of the producer."""
        self._session = self._asked = session
        self._first_index = first_index
        self._counts: str | None = None
        self._next: int | None = None
        self._ready: deque[Ready] = deque()
        self._held: list[_Held] = []
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_KEPT_GAPS)
        self._end: int | None = None
        self._is_over = False

    @property
    def session(self) -> int | None:
        """The producer's session whose rows are handed out."""
        return self._session

    @property
    def next_index(self) -> int | None:
        """Index of the row that should come next; None before the first."""
        return self._next

    @property
    def is_over(self) -> bool:
        """Whether the last row of the stream was handed out."""
        return self._is_over and not self._ready

    @property
    def has_ready(self) -> bool:
        """Whether there are rows to take."""
        return bool(self._ready)

    @property
    def n_held(self) -> int:
        """Frames that wait for one before them."""
        return len(self._held)

    def is_other(self, session: int) -> bool:
        """Whether a session is an earlier one."""
        return self._session is not None and session < self._session

    def is_newer(self, session: int) -> bool:
        """Whether a session begins that was not there before."""
        return self._session is not None and session > self._session

    def add(self, frame: Frame, partition: int, offset: int, now: float) -> None:
        """Take a frame.

        Parameters
        ----------
        frame : Frame
        partition, offset : int
            Where it stood.
        now : float
            Seconds of any clock that goes on.

        Raises
        ------
        WireError
            If it counts otherwise than the frames before it.
        """
        if self.is_other(frame.session):
            is_asked = self._asked is None or frame.session >= self._asked
            self.counts["other_session" if is_asked else "earlier"] += len(frame)
            return
        if self.is_newer(frame.session):
            self._release_all()
            self.counts["restarts"] += 1
            self._counts = self._next = self._end = self._first_index = None
            self._gaps.clear()
            self._is_over = False
        elif self._counts is not None and frame.counts != self._counts:
            raise WireError(f"counts must stay {self._counts!r} within a session, got {frame.counts!r}")
        self._session, self._counts = frame.session, frame.counts
        if frame.last:
            self._end = frame.next_sample
        self._held.append(_Held(frame, partition, offset, now))
        self._held.sort(key=lambda one: one.frame.first_sample)
        self.advance(now)

    def advance(self, now: float) -> None:
        """Let go what is next, and what was held for long enough."""
        while self._held:
            first = self._held[0]
            is_due = len(self._held) > HOLD_FRAMES or now - min(one.since for one in self._held) >= HOLD_S
            if self._next is not None and first.frame.first_sample > self._next and not is_due:
                return
            self._pass_on(self._held.pop(0))

    def take(self) -> Ready | None:
        """Return the next rows; None if there are none."""
        return self._ready.popleft() if self._ready else None

    def oldest_offset(self, partition: int) -> int | None:
        """Return the lowest offset of a partition that was not handed out; None if there is none."""
        offsets = [one.offset for one in self._ready if one.partition == partition]
        offsets += [one.offset for one in self._held if one.partition == partition]
        return min(offsets, default=None)

    def forget(self, partition: int) -> None:
        """Leave out what came from a partition and was not handed out: somebody else reads it again."""
        self._held = [one for one in self._held if one.partition != partition]
        kept = [one for one in self._ready if one.partition != partition]
        gone = [one for one in self._ready if one.partition == partition]
        self._ready = deque(kept)
        if gone:
            self._next = min(one.frame.first_sample + one.start for one in gone)

    def _pass_on(self, held: _Held) -> None:
        """Cut off what was there before, count what is missing, hand the rest out."""
        frame, first = held.frame, held.frame.first_sample
        start = 0
        if self._next is None:
            wanted = self._first_index
            if wanted is not None and first < wanted:
                start = min(wanted - first, len(frame))
                self.counts["earlier"] += start
        elif first < self._next:
            start = min(self._next - first, len(frame))
            n_late = self._n_late(first, first + start)
            self.counts["late"] += n_late
            self.counts["duplicates"] += start - n_late
        elif first > self._next:
            self.counts["lost" if frame.counts == "received" else "jumped"] += first - self._next
            self._gaps.append((self._next, first))
        if start < len(frame):
            self._ready.append(Ready(frame, start, held.partition, held.offset))
        if self._next is None:
            if start == len(frame) and not frame.last:
                return  # the row asked for is not in this frame
            self._next = frame.next_sample
        else:
            self._next = max(self._next, frame.next_sample)
        if self._end is not None and self._next >= self._end:
            self._is_over = True

    def _n_late(self, begin: int, end: int) -> int:
        """Count the rows whose place was given up before they came."""
        return sum(max(0, min(end, gap_end) - max(begin, gap_begin)) for gap_begin, gap_end in self._gaps)

    def _release_all(self) -> None:
        for held in self._held:
            self._pass_on(held)
        self._held = []
