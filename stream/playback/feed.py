"""What a player sends: rows of a recording or of the simulator, and the markers that become due with them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator


class DueMarker(NamedTuple):
    """A marker and the row it comes with: the first one whose stamp reaches its time."""

    row: int
    marker: Marker


class Rows(NamedTuple):
    """Consecutive samples.

    Parameters
    ----------
    data : array, shape (n_samples, n_channels), float64
    timestamps : array, shape (n_samples,), float64
        As recorded or simulated, in seconds.
    sample_numbers : array, shape (n_samples,), int64, optional
        The recording's own count of samples, where it has one.
    """

    data: FloatArray
    timestamps: FloatArray
    sample_numbers: NDArray[np.int64] | None = None


Numbering = Literal["none", "implied", "own"]
"""There are no sample numbers, every stamp is exactly a number divided by the rate, or numbers and stamps differ."""


class Feed(Protocol):
    """Rows by their number; the same rows whenever they are asked for."""

    @property
    def info(self) -> StreamInfo:
        """The stream as recorded or simulated."""
        ...

    @property
    def n_samples(self) -> int | None:
        """Number of rows; None where there is no end."""
        ...

    @property
    def first_sample(self) -> int:
        """Number of the first row where there are no sample numbers."""
        ...

    @property
    def marker_streams(self) -> tuple[str, ...]:
        """The names that markers may carry."""
        ...

    @property
    def numbering(self) -> Numbering:
        """Where sample numbers come from."""
        ...

    def rows(self, start: int, n: int) -> Rows:
        """Return rows ``start`` to ``start + n``, fewer only at the end."""
        ...

    def markers(self, start: int, n: int) -> list[DueMarker]:
        """Return the markers that become due with these rows; those after the last row come with the last."""
        ...


@runtime_checkable
class ScheduledFeed(Feed, Protocol):
    """A feed that also says when and how its rows are sent; rows are counted as they are sent."""

    def clock_stamps(self, start: int, n: int) -> FloatArray:
        """Return the stamps of rows by the sender's own clock, in seconds since the stream's start."""
        ...

    def batch(self, row: int, n: int) -> int:
        """Return how many of at most ``n`` rows are sent at once from ``row`` on; packets are sent whole."""
        ...

    def due_s(self, row: int) -> float:
        """Return when a row is sent, in seconds of stream since the start."""
        ...

    def outage_s(self, row: int) -> float:
        """Return for how long the outlet is gone right before this row; 0 where it stays."""
        ...

    def sent(self, n_rows: int, clock_start: float | None = None) -> None:
        """Take notice that so many rows are on their way.

        Parameters
        ----------
        n_rows : int
        clock_start : float, optional
            What was added to `clock_stamps`; None if the feed's own stamps were sent.
        """
        ...


class RecordingFeed:
    """A recorded stream, once or for ever.

    Parameters
    ----------
    stream : RecordedStream
    markers : sequence of Marker
        On the stream's own clock.
    loop : bool
        Begin again after the last row; stamps and markers go on by the whole length and one period.
    """

    def __init__(self, stream: RecordedStream, markers: Sequence[Marker] = (), *, loop: bool = False) -> None:
        if stream.n_samples == 0:
            raise ValueError(f"stream must have samples, got none in {stream.info.name!r}")
        if loop and not stream.info.sfreq > 0:
            raise ValueError(f"loop must be off for a stream without a rate, got {loop!r}")
        self.info = stream.info
        self.first_sample = stream.first_sample if stream.sample_numbers is None else 0
        self._stream = stream
        self._loop = loop
        self._length = stream.n_samples
        stamps = stream.timestamps
        # A clock that steps back has reached a time when its highest stamp has.
        self._reached = np.fmax.accumulate(stamps)
        ordered = sorted(markers, key=lambda marker: marker.time)
        rows = np.searchsorted(self._reached, [marker.time for marker in ordered])
        last = self._length - 1
        self._markers = [DueMarker(min(int(row), last), marker) for row, marker in zip(rows, ordered, strict=True)]
        self._marker_rows = [due.row for due in self._markers]
        self.marker_streams = tuple(dict.fromkeys(marker.stream for marker in ordered))
        self.numbering = self._find_numbering()
        self._turn_s, self._turn_samples = self._turn()

    @property
    def n_samples(self) -> int | None:
        """Number of rows; None for a loop."""
        return None if self._loop else self._length

    def rows(self, start: int, n: int) -> Rows:
        """Return views of the recording's rows where no turn ends among them, otherwise new arrays."""
        turn, first = divmod(start, self._length) if self._loop else (0, start)
        n_here = max(0, min(n, self._length - first))
        here = self._rows_of(turn, first, n_here)
        if not self._loop or n_here == n:
            return here
        more = self.rows(start + n_here, n - n_here)
        return Rows(
            np.concatenate((here.data, more.data)),
            np.concatenate((here.timestamps, more.timestamps)),
            None
            if here.sample_numbers is None or more.sample_numbers is None
            else np.concatenate((here.sample_numbers, more.sample_numbers)),
        )

    def markers(self, start: int, n: int) -> list[DueMarker]:
        """Return the markers that become due with these rows, in order."""
        if not self._markers:
            return []
        due: list[DueMarker] = []
        first_turn = start // self._length if self._loop else 0
        last_turn = (start + n - 1) // self._length if self._loop else 0
        for turn in range(first_turn, last_turn + 1):
            offset = turn * self._length
            begin = bisect_left(self._marker_rows, start - offset)
            end = bisect_left(self._marker_rows, start + n - offset)
            due.extend(
                DueMarker(row + offset, Marker(m.time + turn * self._turn_s, m.label, m.stream) if turn else m)
                for row, m in self._markers[begin:end]
            )
        return due

    def _rows_of(self, turn: int, first: int, n: int) -> Rows:
        """Return rows of one turn, views in the first one."""
        part = slice(first, first + n)
        data, stamps = self._stream.data[part], self._stream.timestamps[part]
        numbers = None if self._stream.sample_numbers is None else self._stream.sample_numbers[part]
        if turn and numbers is not None:
            numbers = numbers + turn * self._turn_samples
        if turn:
            stamps = stamps + turn * self._turn_s
            if self.numbering == "implied" and numbers is not None:
                stamps = numbers / self.info.sfreq
        return Rows(data, stamps, numbers)

    def _find_numbering(self) -> Numbering:
        numbers = self._stream.sample_numbers
        if numbers is None or not self.info.sfreq > 0:
            return "none"
        return "implied" if np.array_equal(numbers / self.info.sfreq, self._stream.timestamps) else "own"

    def _turn(self) -> tuple[float, int]:
        """Return what a whole turn adds to stamps, in seconds, and to sample numbers."""
        if not self._loop:
            return 0.0, 0
        numbers = self._stream.sample_numbers
        n_turn = self._length if numbers is None else int(numbers.max() - numbers.min()) + 1
        if self.numbering == "implied":
            return n_turn / self.info.sfreq, n_turn
        finite = self._stream.timestamps[np.isfinite(self._stream.timestamps)]
        length_s = float(finite.max() - finite.min()) if len(finite) else 0.0
        return length_s + 1.0 / self.info.sfreq, n_turn


class SimulatorFeed:
    """The simulator with its state changes as markers."""

    numbering: Numbering = "none"
    first_sample = 0

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.info = simulator.info
        self.marker_streams = (simulator.info.name,)

    @property
    def n_samples(self) -> int | None:
        """Number of rows; None where the simulator has no end."""
        return self._simulator.n_samples

    def rows(self, start: int, n: int) -> Rows:
        """Return new arrays."""
        return Rows(*self._simulator.generate(start, n))

    def markers(self, start: int, n: int) -> list[DueMarker]:
        """Return the state changes among these rows."""
        due = []
        for marker in self._simulator.markers(start, n):
            row = round((marker.time - self._simulator.t0) * self.info.sfreq)
            due.append(DueMarker(row, marker))
        return due
