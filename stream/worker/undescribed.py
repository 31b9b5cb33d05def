"""Frames of one partition that wait for what describes their stream; the other streams go on meanwhile.

A frame that waits is not dealt with: the offset is committed no further than to the oldest of them, and the snapshot of
its stream covers nothing behind the first. Frames of the same stream wait behind it, whatever their session, so that
its order is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from neuroloop.stream.wire.frames import Frame

_FRAME_BYTES = 2000
"""What a frame takes beside its message."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One frame that waits.

    Parameters
    ----------
    message
        As the client handed it over.
    frame : Frame
    since_s : float
        When it came, by the worker's clock.
    """

    message: Any
    frame: Frame
    since_s: float

    @property
    def n_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.message.value) + _FRAME_BYTES


class Undescribed:
    """Keep the frames that wait, by their stream and in order.

    Attributes
    ----------
    n_bytes : int
        What they take in memory.
    """

    def __init__(self) -> None:
        self._of: dict[str, list[Waiting]] = {}
        self.n_bytes = 0

    def __contains__(self, stream: str) -> bool:
        return stream in self._of

    def __iter__(self) -> Iterator[tuple[str, Waiting]]:
        """Return each stream with the first of its frames, the one that waits longest first."""
        return iter([(stream, waiting[0]) for stream, waiting in self._of.items()])

    def __len__(self) -> int:
        return len(self._of)

    def add(self, one: Waiting) -> None:
        """Let a frame wait behind those of its stream."""
        self._of.setdefault(one.frame.stream, []).append(one)
        self.n_bytes += one.n_bytes

    def take(self, stream: str) -> list[Waiting]:
        """Return the frames of a stream in order; they do not wait here any more."""
        taken = self._of.pop(stream, [])
        self.n_bytes -= sum(one.n_bytes for one in taken)
        return taken

    def first_offset(self, stream: str) -> int | None:
        """Return where the first frame of a stream stands that waits, None where none does."""
        waiting = self._of.get(stream)
        return None if waiting is None else int(waiting[0].message.offset)

    @property
    def oldest_offset(self) -> int | None:
        """Where the oldest frame stands, None where none waits."""
        return min((int(waiting[0].message.offset) for waiting in self._of.values()), default=None)
