"""Rows of one session in their order: repeated ones dropped, late ones put in place, lost ones stated.

Everything here is a function of the messages of a partition in the order of their offsets; no clock decides. A worker
that takes over and reads the same messages again therefore comes to the same decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuroloop.stream.wire.frames import Frame


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that come next.

    Parameters
    ----------
    frame : Frame
    start : int
        The first of the frame's rows that is new.
    n_lost : int
        Indices between the row before and this one that never came.
    """

    frame: Frame
    start: int
    n_lost: int = 0

    @property
    def n_rows(self) -> int:
        """How many rows are new."""
        return len(self.frame) - self.start


class RowOrder:
    """Put the frames of one session in order by the index of their rows.

    A frame that begins behind the next row waits, at most until ``window_frames`` wait. Then the rows before the first
    of them are given up.

    Parameters
    ----------
    window_frames : int
        At least 1.
    next_row : int, optional
        Index of the first row, where it is known; otherwise the first frame says it.

    Attributes
    ----------
    next_row : int or None
        Index of the row that comes next.
    n_duplicates : int
        Rows that came again or too late.
    n_lost : int
        Rows given up.
    n_reordered : int
        Frames that had to wait.
    """

    def __init__(self, window_frames: int, next_row: int | None = None) -> None:
        if window_frames < 1:
            raise ValueError(f"window_frames must be >= 1, got {window_frames!r}")
        self._window_frames = window_frames
        self._held: dict[int, tuple[int, Frame]] = {}
        self.next_row = next_row
        self.n_duplicates = self.n_lost = self.n_reordered = 0

    @property
    def oldest_held(self) -> int | None:
        """Offset of the oldest message that waits, None where none does."""
        return min((offset for offset, _ in self._held.values()), default=None)

    @property
    def n_held(self) -> int:
        """How many frames wait."""
        return len(self._held)

    def add(self, offset: int, frame: Frame) -> list[Piece]:
        """Take the frame of a message; return the rows that can be processed now, in order.

        Parameters
        ----------
        offset : int
            Of the message in its partition.
        frame : Frame
        """
        if self.next_row is None:
            self.next_row = frame.first_sample
        if frame.first_sample == self.next_row and not self._held and len(frame):  # nearly always
            self.next_row = frame.next_sample
            return [Piece(frame, 0)]
        if frame.first_sample > self.next_row:
            other = self._held.get(frame.first_sample)
            if other is not None and _reach(other[1]) >= _reach(frame):
                self.n_duplicates += len(frame)
                return []
            if other is not None:
                self.n_duplicates += len(other[1])
                offset = min(offset, other[0])
            self._held[frame.first_sample] = (offset, frame)
            self.n_reordered += 1
            return self.give_up() if len(self._held) > self._window_frames else []
        pieces = self._take(frame, 0)
        return pieces + self._follow() if self._held else pieces

    def give_up(self) -> list[Piece]:
        """Wait no longer for the rows before the first frame that waits; return what can be processed then."""
        if not self._held or self.next_row is None:
            return []
        first = min(self._held)
        n_lost = first - self.next_row
        self.n_lost += n_lost
        self.next_row = first
        _, frame = self._held.pop(first)
        return self._take(frame, n_lost) + self._follow()

    def _follow(self) -> list[Piece]:
        """Return what waited for the rows so far."""
        pieces: list[Piece] = []
        while self._held and self.next_row is not None:
            first = min(self._held)
            if first > self.next_row:
                break
            pieces += self._take(self._held.pop(first)[1], 0)
        return pieces

    def _take(self, frame: Frame, n_lost: int) -> list[Piece]:
        """Move on over the rows of a frame that begins at the next row or before it."""
        before = self.next_row if self.next_row is not None else frame.first_sample
        start = min(before - frame.first_sample, len(frame))
        self.n_duplicates += start
        if start == len(frame) and not (frame.last and frame.next_sample == before):
            return []
        self.next_row = max(before, frame.next_sample)
        return [Piece(frame, start, n_lost)]


def _reach(frame: Frame) -> tuple[int, bool]:
    """Return how much a frame says: how far it goes, and whether it is the end."""
    return frame.next_sample, frame.last
