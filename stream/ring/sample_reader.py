"""A reader's end of the sample ring: rows copied out, torn ones never, lost ones counted."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import StreamInfo, make_chunk
from neuroloop.stream.contracts.shared_memory import SampleRows
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.cursor import Cursor
from neuroloop.stream.ring.header import HEAD, LIMIT, Place, RingHeader


class SampleRingReader:
    """Take rows out of a `neuroloop.stream.ring.samples.SampleRing`, in order.

    Parameters
    ----------
    header : RingHeader
    info : StreamInfo
    capacity : int
    name : str
        One of the ring's readers.
    bell : Bell or None
    columns : list of array
        Data, timestamps, sample numbers, arrival times and flags, each with ``2 * capacity`` rows.
    """

    def __init__(
        self,
        header: RingHeader,
        info: StreamInfo,
        capacity: int,
        name: str,
        bell: Bell | None,
        columns: list[NDArray[Any]],
    ) -> None:
        self._info = info
        self._words = header.words
        self._capacity = capacity
        self._columns = columns
        self._cursor = Cursor(header, name, bell)
        self._next_sample = 0

    @property
    def info(self) -> StreamInfo:
        """The stream whose rows the ring holds."""
        return self._info

    @property
    def n_lost(self) -> int:
        """Rows lost so far, by this reader and those of its name before a restart."""
        return self._cursor.place.n_lost

    @property
    def n_delivered(self) -> int:
        """Rows read so far; with `n_lost` and what is still to be read they are all that was written."""
        return self._cursor.place.n_delivered

    @property
    def is_ended(self) -> bool:
        """Whether everything was read and the writer is gone, closed or dead."""
        return self._cursor.is_ended()

    def read(self, max_samples: int) -> SampleRows:
        """Take at most ``max_samples`` rows, without waiting; they end where the sample number jumps.

        Raises
        ------
        ValueError
            If ``max_samples`` is below 1.
        """
        if max_samples < 1:
            raise ValueError(f"max_samples must be at least 1, got {max_samples!r}")
        begin = self._cursor.place.position
        head = self._words[HEAD]
        row = max(begin, min(self._words[LIMIT], head))
        n_samples = min(head - row, max_samples, self._capacity)
        slot = row % self._capacity
        copies = [column[slot : slot + n_samples].copy() for column in self._columns]
        torn = min(self._words[LIMIT], row + n_samples) - row  # overwritten while we copied
        if torn > 0:
            copies = [column[torn:] for column in copies]
            row, n_samples = row + torn, n_samples - torn
        samples = copies[2]
        if n_samples and samples[-1] - samples[0] != n_samples - 1:
            jump = int(np.argmax(np.diff(samples) != 1)) + 1
            copies = [column[:jump] for column in copies]
            n_samples = jump
        data, timestamps, samples, arrival_ns, valid = copies
        first = int(samples[0]) if n_samples else self._next_sample
        n_lost = row - begin
        self._next_sample = first + n_samples
        self._cursor.advance(row + n_samples, n_samples, n_lost)
        return SampleRows(make_chunk(data, timestamps, first, valid, self._info), arrival_ns, n_lost)

    @property
    def place(self) -> Place:
        """Where the next row will be read; may be given to `commit` later."""
        return self._cursor.place

    def commit(self, place: Place | None = None) -> None:
        """Say that all rows read so far, or up to an earlier place, are dealt with; a restart goes on from there."""
        self._cursor.commit(place)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there are rows, the writer is gone or the time is over; say whether there are rows.

        May return early, with False, when the writer has rung for another of its rings.

        Raises
        ------
        RuntimeError
            If the ring has no bell.
        """
        return self._cursor.wait(timeout_s)

    def close(self) -> None:
        """Free the name; what was committed stays in the ring. May be called twice."""
        self._cursor.close()
        self._columns = []

    def __enter__(self) -> SampleRingReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
