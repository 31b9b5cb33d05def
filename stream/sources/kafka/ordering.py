"""Each row once and in order, over all sessions of a producer: frames as they arrive become the rows of a stream."""

from __future__ import annotations

from collections import Counter, deque

from neuroloop.config.errors import WireError
from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.row_order import HoldForMoment, Piece, RowOrder

COUNTS = ("duplicates", "late", "lost", "jumped", "earlier", "other_session", "restarts")
"""What `SessionOrder` counts, as others are told it."""
HOLD = HoldForMoment()


class SessionOrder:
    """Order the frames of one stream, whose producer may begin anew.

    Parameters
    ----------
    session : int, optional
        Frames of an earlier session are left out; without it the first frame decides.
    first_index : int, optional
        Rows with a lower index are left out.
    """

    def __init__(self, session: int | None = None, first_index: int | None = None) -> None:
        self._session = self._asked = session
        self._counts: str | None = None
        self._rows = RowOrder(HOLD, first_row=first_index)
        self.counts: Counter[str] = self._rows.counts
        """Rows: what `RowOrder` counts, of which ``earlier`` also holds those before the session asked for, and
        ``other_session`` (of one that was over). Times: ``restarts`` of the producer."""
        self._ready: deque[Piece] = deque()
        self._end: int | None = None
        self._is_over = False

    @property
    def session(self) -> int | None:
        """The producer's session whose rows are handed out."""
        return self._session

    @property
    def next_index(self) -> int | None:
        """Index of the row that should come next; None before the first."""
        return self._rows.next_row

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
        return self._rows.n_held

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
            self._begin_anew()
        elif self._counts is not None and frame.counts != self._counts:
            raise WireError(f"counts must stay {self._counts!r} within a session, got {frame.counts!r}")
        self._session, self._counts = frame.session, frame.counts
        if frame.last:
            self._end = frame.next_sample
        self._hand_out(self._rows.add(frame, offset, partition=partition, now=now))

    def advance(self, now: float) -> None:
        """Let go what was held for long enough."""
        self._hand_out(self._rows.release(now))

    def take(self) -> Piece | None:
        """Return the next rows; None if there are none."""
        return self._ready.popleft() if self._ready else None

    def oldest_offset(self, partition: int) -> int | None:
        """Return the lowest offset of a partition that was not handed out; None if there is none."""
        offsets = [one.offset for one in self._ready if one.partition == partition]
        offsets += [one.offset for one in self._rows.held_of(partition)]
        return min(offsets, default=None)

    def forget(self, partition: int) -> None:
        """Leave out what came from a partition and was not handed out: somebody else reads it again."""
        self._rows.forget(partition)
        gone = [one for one in self._ready if one.partition == partition]
        self._ready = deque(one for one in self._ready if one.partition != partition)
        if gone:
            self._rows.next_row = min(one.frame.first_sample + one.start for one in gone)

    def _begin_anew(self) -> None:
        """Hand out what waits for rows of the session before, and forget where that stood."""
        self._hand_out(self._rows.give_up_all())
        self._rows = RowOrder(HOLD)
        self._rows.counts = self.counts
        self.counts["restarts"] += 1
        self._counts = self._end = None
        self._is_over = False

    def _hand_out(self, pieces: list[Piece]) -> None:
        self._ready.extend(piece for piece in pieces if piece.n_rows)
        following = self._rows.next_row
        if self._end is not None and following is not None and following >= self._end:
            self._is_over = True
