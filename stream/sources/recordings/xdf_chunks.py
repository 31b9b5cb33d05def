"""The chunks of an XDF file and the samples in them (XDF 1.0 specification).

A reader of its own, because the file may come from a killed recorder or be damaged: every length is checked against
the bytes that are there before anything is allocated, and a sample that was cut off is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.sources.recordings.faults import Notes

FILE_HEADER, STREAM_HEADER, SAMPLES, CLOCK_OFFSET, BOUNDARY, STREAM_FOOTER = range(1, 7)
_BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
_DTYPES = {
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "float32": "<f4",
    "double64": "<f8",
}
FORMATS = frozenset({*_DTYPES, "string"})


@dataclass(frozen=True)
class XdfChunk:
    """One chunk: its tag and where its content begins and ends (``is_cut``: the file ends before the chunk does)."""

    tag: int
    begin: int
    end: int
    is_cut: bool = False


class DamagedChunk(Exception):
    """A chunk's content is not what its header says."""


@dataclass
class SampleReader:
    """Decodes the sample chunks of one stream.

    Parameters
    ----------
    n_channels : int
    channel_format : str
        One of `FORMATS`.
    sfreq : float
        Nominal rate in Hz; 0 for an irregular stream. A sample without a stamp stands one period after the one before.
    """

    n_channels: int
    channel_format: str
    sfreq: float
    timestamps: list[FloatArray] = field(default_factory=list)
    values: list[NDArray[Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._period = 1.0 / self.sfreq if self.sfreq > 0 else 0.0
        self._rows: dict[int, np.dtype[Any]] = {}
        if self.channel_format != "string":
            value = (_DTYPES[self.channel_format], (self.n_channels,))
            self._rows[0] = np.dtype([("flag", "u1"), ("value", *value)])
            self._rows[8] = np.dtype([("flag", "u1"), ("stamp", "<f8"), ("value", *value)])

    def read(self, buffer: bytes, chunk: XdfChunk) -> None:
        """Add the samples of one chunk; of a cut one those that are complete.

        Raises
        ------
        DamagedChunk
            If the content is not what it says; nothing of the chunk is added.
        """
        n_samples, begin = read_length(buffer, chunk.begin, chunk.end)
        last = self._last
        try:
            if self.channel_format == "string":
                stamps, texts = self._texts(buffer, begin, chunk, n_samples)
                self.texts.extend(texts)
                if stamps:
                    self.timestamps.append(np.array(stamps))
            else:
                runs = self._runs(buffer, begin, chunk, n_samples)
                self.timestamps.extend(run[0] for run in runs)
                self.values.extend(run[1] for run in runs)
        except DamagedChunk:
            self._last = last
            raise

    def _runs(
        self, buffer: bytes, position: int, chunk: XdfChunk, n_samples: int
    ) -> list[tuple[FloatArray, NDArray[Any]]]:
        """Decode numbers: runs of samples with a stamp each, and runs without."""
        runs = []
        while n_samples:
            flag = buffer[position] if position < chunk.end else -1
            row = self._rows.get(flag)
            n_fit = 0 if row is None else min(n_samples, (chunk.end - position) // row.itemsize)
            if row is None or not n_fit:
                if chunk.is_cut and (row is not None or flag == -1):
                    break
                raise DamagedChunk("a sample is not complete" if row is not None else "a sample has no time flag")
            n_run = _run_length(buffer, position, row.itemsize, n_fit)
            rows = np.frombuffer(buffer, row, n_run, position)
            runs.append((self._stamps(rows, flag), rows["value"]))
            position += n_run * row.itemsize
            n_samples -= n_run
        return runs

    def _stamps(self, rows: NDArray[Any], flag: int) -> FloatArray:
        """Return the stamps of a run; those that are not stored follow one by one from the last, as the format says."""
        with np.errstate(all="ignore"):
            if flag:
                stamps = rows["stamp"].astype(np.float64)
            else:
                stamps = np.full(len(rows), self._period)
                stamps[0] = self._last + self._period
                stamps = np.add.accumulate(stamps)
        self._last = float(stamps[-1])
        return stamps

    def _texts(self, buffer: bytes, position: int, chunk: XdfChunk, n_samples: int) -> tuple[list[float], list[str]]:
        """Decode strings; those of several channels are joined by spaces."""
        stamps: list[float] = []
        texts: list[str] = []
        try:
            while len(texts) < n_samples:
                flag = buffer[position] if position < chunk.end else -1
                if flag not in (0, 8) or position + 1 + flag > chunk.end:
                    raise DamagedChunk("a text sample has no time flag")
                stamp = self._last + self._period
                if flag:
                    stamp = float(np.frombuffer(buffer, "<f8", 1, position + 1)[0])
                position += 1 + flag
                parts = []
                for _ in range(self.n_channels):
                    length, position = read_length(buffer, position, chunk.end)
                    if position + length > chunk.end:
                        raise DamagedChunk("a text is longer than its chunk")
                    parts.append(buffer[position : position + length].decode("utf-8", "replace"))
                    position += length
                self._last = stamp
                stamps.append(stamp)
                texts.append(" ".join(parts))
        except DamagedChunk:
            if not chunk.is_cut:
                raise
        return stamps, texts


def read_length(buffer: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a length of variable size; return it and the position behind it.

    Raises
    ------
    DamagedChunk
        If it is not 1, 4 or 8 bytes long or does not end before ``end``.
    """
    size = buffer[position] if position < end else -1
    if size not in (1, 4, 8) or position + 1 + size > end:
        raise DamagedChunk("a length is not 1, 4 or 8 bytes long")
    return int.from_bytes(buffer[position + 1 : position + 1 + size], "little"), position + 1 + size


def walk_chunks(buffer: bytes, notes: Notes) -> Iterator[XdfChunk]:
    """Yield the chunks of a file in order; what is damaged is skipped up to the next boundary chunk, and noted.

    Parameters
    ----------
    buffer : bytes
        The whole file, the magic bytes ``XDF:`` included.
    notes : Notes
    """
    position, size = 4, len(buffer)
    while position < size:
        try:
            length, begin = read_length(buffer, position, size)
        except DamagedChunk:
            length, begin = 0, position + 1
        if length >= 2 and begin + 2 <= size and begin + length <= size:
            yield XdfChunk(int.from_bytes(buffer[begin : begin + 2], "little"), begin + 2, begin + length)
            position = begin + length
            continue
        boundary = buffer.find(_BOUNDARY_MARK, begin)
        if boundary >= 0:
            notes.add(f"damaged at byte {position}: {boundary + 16 - position} bytes skipped to the next boundary")
            position = boundary + len(_BOUNDARY_MARK)
            continue
        if length > 2 and begin + 2 <= size:
            notes.add(
                f"ends in the middle of a chunk that begins at byte {position}: the recorder may have been killed"
            )
            yield XdfChunk(int.from_bytes(buffer[begin : begin + 2], "little"), begin + 2, size, is_cut=True)
        else:
            notes.add(f"damaged at byte {position}: the {size - position} bytes to the end are not read")
        return


def _run_length(buffer: bytes, position: int, stride: int, most: int) -> int:
    """Count the samples from ``position`` on that carry the same time flag; looks no further than twice the answer."""
    looked = 8
    while True:
        count = min(looked, most)
        flags = np.frombuffer(buffer, np.uint8, (count - 1) * stride + 1, position)[::stride]
        same = flags == flags[0]
        if not same.all():
            return int(same.argmin())
        if count == most:
            return most
        looked *= 4
