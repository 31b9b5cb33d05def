"""The writer's end of the sample ring: appends chunks, looks back at windows."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.header import CLOSED, HEAD, LIMIT, NEXT, OPEN, STATE, WRITER, RingHeader


class SampleWriter:
    """Put rows into a `neuroloop.stream.ring.samples.SampleRing`.

    Parameters
    ----------
    header : RingHeader
    info : StreamInfo
    capacity : int
    bell : Bell or None
    columns : list of array
        Data, timestamps, sample numbers, arrival times and flags, each of shape ``(2, capacity, ...)``.

    Raises
    ------
    RuntimeError
        If a living process writes.
    """

    def __init__(
        self, header: RingHeader, info: StreamInfo, capacity: int, bell: Bell | None, columns: list[NDArray[Any]]
    ) -> None:
        header.claim(WRITER, "writer")
        self.info = info
        self.capacity = capacity
        self._header = header
        self._words = header.words
        self._bell = bell
        self._data, self._timestamps, self._samples, self._arrival, self._valid = columns
        self._n_channels = info.n_channels
        # Single numbers go in through memoryviews: 0.03 us a store, 0.3 us for a pair of slices
        self._cells = [column.reshape(-1).data for column in columns[1:]]
        flat = [column.view().reshape(2 * capacity, *column.shape[2:]) for column in columns]
        for column in flat:
            column.flags.writeable = False  # what is handed out cannot be written into
        self._view_data: FloatArray = flat[0]
        self._view_timestamps: FloatArray = flat[1]
        self._view_samples: NDArray[np.int64] = flat[2]
        self._view_valid: BoolArray = flat[4]
        self._row = self._words[HEAD]
        self._next_sample = self._words[NEXT]
        if self._row > self._words[LIMIT]:  # a writer killed between its last two stores left NEXT too high
            self._next_sample = int(self._samples[0, (self._row - 1) % capacity]) + 1
        self._run_first_sample = self._next_sample  # first sample of the newest run without a jump
        self._is_open = True
        self._words[STATE] = OPEN
        self.notify()  # sleeping readers begin to watch this process

    @property
    def head(self) -> int:
        """Sample number that follows the newest row."""
        return self._next_sample

    def append(self, chunk: Chunk, arrival_ns: int = 0) -> None:
        """Copy a chunk in; of one longer than the ring, the newest ``capacity`` rows.

        Does not wake anybody: see `notify`.

        Parameters
        ----------
        chunk : Chunk
            Its ``first_sample`` may lie ahead of `head` (a jump), not behind.
        arrival_ns : int
            ``time.perf_counter_ns()`` at which the chunk came.

        Raises
        ------
        ValueError
            If the chunk has another shape or begins before `head`.
        """
        n_samples = len(chunk.timestamps)
        if n_samples == 0:
            return
        first = chunk.first_sample
        data, timestamps, valid = chunk.data, chunk.timestamps, chunk.valid
        if data.shape != (n_samples, self._n_channels) or valid.shape != (n_samples,):
            raise ValueError(
                f"chunk must have data of shape ({n_samples}, {self._n_channels}) and as many flags, "
                f"got {data.shape} and {valid.shape}"
            )
        if first != self._next_sample:
            if first < self._next_sample:
                raise ValueError(f"first_sample must be at least head={self._next_sample}, got {first!r}")
            self._run_first_sample = first
        row = self._row
        head = row + n_samples
        if n_samples > self.capacity:
            skipped = n_samples - self.capacity
            data, timestamps, valid = data[skipped:], timestamps[skipped:], valid[skipped:]
            row, first = row + skipped, first + skipped
        words = self._words
        if head - self.capacity > words[LIMIT]:
            words[LIMIT] = head - self.capacity  # before the first store that overwrites
        slot = row % self.capacity
        stop = slot + head - row
        if n_samples == 1:
            self._data[:, slot] = data
            twin = slot + self.capacity
            stamps, samples, arrivals, flags = self._cells
            stamps[slot] = stamps[twin] = timestamps[0]
            samples[slot] = samples[twin] = first
            arrivals[slot] = arrivals[twin] = arrival_ns
            flags[slot] = flags[twin] = valid[0]
        elif stop <= self.capacity:
            self._store(slot, stop, data, timestamps, valid, first, arrival_ns)
        else:
            cut = self.capacity - slot
            self._store(slot, self.capacity, data[:cut], timestamps[:cut], valid[:cut], first, arrival_ns)
            self._store(0, stop - self.capacity, data[cut:], timestamps[cut:], valid[cut:], first + cut, arrival_ns)
        self._row = head
        self._next_sample = chunk.first_sample + n_samples
        words[NEXT] = self._next_sample
        words[HEAD] = head  # after the last store of the rows

    def _store(
        self,
        slot: int,
        stop: int,
        data: FloatArray,
        timestamps: FloatArray,
        valid: BoolArray,
        first: int,
        arrival_ns: int,
    ) -> None:
        """Write rows to slots that do not wrap; both copies in one call each."""
        self._data[:, slot:stop] = data
        self._timestamps[:, slot:stop] = timestamps
        self._samples[:, slot:stop] = np.arange(first, first + stop - slot)
        self._arrival[:, slot:stop] = arrival_ns
        self._valid[:, slot:stop] = valid

    def notify(self) -> None:
        """Wake all readers that listen to the ring's bell; never blocks."""
        if self._bell is not None:
            self._bell.notify()

    def window(self, newest: int, n_samples: int) -> Chunk:
        """Return the rows that end with sample ``newest``, as read-only views.

        The views stay right until ``capacity - n_samples`` rows later than ``newest`` have been appended.

        Raises
        ------
        ValueError
            If the ring does not hold these rows, or a jump lies among them.
        """
        if not 1 <= n_samples <= self.capacity:
            raise ValueError(f"n_samples must be in [1, capacity={self.capacity}], got {n_samples!r}")
        first = newest - n_samples + 1
        oldest_row = max(0, self._row - self.capacity, self._words[LIMIT])
        if first >= self._run_first_sample and newest < self._next_sample:
            row = self._row - (self._next_sample - first)
        else:
            row = self._find(first, newest, n_samples, oldest_row)
        if row < oldest_row:
            raise self._absent(newest, n_samples)
        slot = row % self.capacity
        stop = slot + n_samples
        return Chunk(
            self._view_data[slot:stop],
            self._view_timestamps[slot:stop],
            first,
            self._view_valid[slot:stop],
            self.info,
        )

    def _find(self, first: int, newest: int, n_samples: int, oldest_row: int) -> int:
        """Look up the row of a sample that lies before the last jump."""
        slot = oldest_row % self.capacity
        samples = self._view_samples[slot : slot + self._row - oldest_row]
        k = int(np.searchsorted(samples, first))
        if k + n_samples > len(samples) or samples[k] != first or samples[k + n_samples - 1] != newest:
            raise self._absent(newest, n_samples)
        return oldest_row + k

    def _absent(self, newest: int, n_samples: int) -> ValueError:
        return ValueError(
            f"newest must be the last of {n_samples} rows without a jump among the newest {self.capacity} "
            f"before head={self._next_sample}, got {newest!r}"
        )

    def close(self) -> None:
        """Tell the readers that nothing more will come; may be called twice."""
        if self._is_open:
            self._is_open = False
            self._words[STATE] = CLOSED
            self._header.release(WRITER)
            self.notify()
            self._cells.clear()
            del self._data, self._timestamps, self._samples, self._arrival, self._valid
            del self._view_data, self._view_timestamps, self._view_samples, self._view_valid

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
