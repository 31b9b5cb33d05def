"""Writing XDF 1.0: append-only, every chunk whole, loadable whatever ends it.

Each call hands its chunk to the system in one write, without a buffer of ours: a killed process loses nothing that was
written, a lost machine what the disk had not taken, at most ``fsync_s`` of it. A chunk that did not go in whole (a full
disk) is cut off again, so the file always ends with a whole chunk; only a write that a crash cut leaves half of one,
which readers skip.

References
----------
.. [1] XDF 1.0 specification, https://github.com/sccn/xdf/wiki/Specifications
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from neuroloop.sinks.xdf.stream_header import StreamCounts, XdfStream, file_header
from neuroloop.stream.contracts.chunks import FloatArray

FILE_HEADER, STREAM_HEADER, SAMPLES, CLOCK_OFFSET, BOUNDARY, STREAM_FOOTER = range(1, 7)
BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
BOUNDARY_S = 10.0
_VALUE_TYPES = {"double64": "<f8", "float32": "<f4", "int64": "<i8"}
_STAMPED = 8


class XdfWriter:
    """Write one XDF file.

    Parameters
    ----------
    path : Path
        Must not exist.
    fsync_s : float
        Longest time between two requests to put the file on the disk, in seconds; checked by `tick`.
    clock : callable
        Seconds, for the boundaries and the fsync schedule.

    Raises
    ------
    OSError
        As every method that writes: if the file cannot be made or written. The file then ends with a whole chunk.
    """

    def __init__(self, path: Path, *, fsync_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        if not fsync_s > 0:
            raise ValueError(f"fsync_s must be above 0, got {fsync_s!r}")
        self.path = path
        self._fsync_s = fsync_s
        self._clock = clock
        self._streams: list[tuple[XdfStream, StreamCounts, np.dtype[np.void] | None]] = []
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)
        self._n_bytes = 0
        self._last_boundary = self._last_fsync = clock()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._put(b"XDF:" + _chunk(FILE_HEADER, file_header(now)))
        except OSError:
            os.close(self._fd)
            self._fd = -1
            path.unlink(missing_ok=True)
            raise

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self._n_bytes

    def add_stream(self, stream: XdfStream) -> int:
        """Write a stream's header, at any time before its first sample; return its id."""
        number = len(self._streams) + 1
        self._put(_chunk(STREAM_HEADER, struct.pack("<I", number) + stream.header()))
        row = None
        if stream.channel_format != "string":
            value = (_VALUE_TYPES[stream.channel_format], (stream.n_channels,))
            row = np.dtype([("flag", "u1"), ("stamp", "<f8"), ("value", *value)])
        self._streams.append((stream, StreamCounts(), row))
        return number

    def write_samples(self, stream_id: int, data: NDArray[np.float64 | np.int64], timestamps: FloatArray) -> None:
        """Write a chunk of numbers, a stamp for each sample.

        Parameters
        ----------
        stream_id : int
            What `add_stream` returned.
        data : array, shape (n_samples, n_channels)
            Rounded once where the stream's format is narrower.
        timestamps : array, shape (n_samples,)
            In seconds, on the stream's clock.

        Raises
        ------
        ValueError
            If the shape is wrong or the stream is one of texts.
        """
        stream, counts, row = self._streams[stream_id - 1]
        n_samples = len(timestamps)
        if row is None:
            raise ValueError(f"stream must be one of numbers, got {stream.name!r} of {stream.channel_format}")
        if data.shape != (n_samples, stream.n_channels):
            raise ValueError(f"data must have shape ({n_samples}, {stream.n_channels}), got {data.shape!r}")
        if not n_samples:
            return
        rows = np.empty(n_samples, row)
        rows["flag"] = _STAMPED
        rows["stamp"] = timestamps
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite
            rows["value"] = data
        self._put(_chunk(SAMPLES, struct.pack("<IBI", stream_id, 4, n_samples) + rows.tobytes()))
        counts.count(float(timestamps[0]), float(timestamps[-1]), n_samples)

    def write_texts(self, stream_id: int, texts: Sequence[str], timestamps: Sequence[float]) -> None:
        """Write a chunk of one-channel texts, a stamp for each.

        Raises
        ------
        ValueError
            If the lengths differ or the stream is not one of texts with one channel.
        """
        stream, counts, row = self._streams[stream_id - 1]
        if row is not None or stream.n_channels != 1:
            raise ValueError(
                f"stream must be one of texts with one channel, got {stream.name!r} of {stream.channel_format}"
            )
        if len(texts) != len(timestamps):
            raise ValueError(f"timestamps must have one entry per text ({len(texts)}), got {len(timestamps)}")
        if not texts:
            return
        parts = [struct.pack("<IBI", stream_id, 4, len(texts))]
        for text, stamp in zip(texts, timestamps, strict=True):
            encoded = text.encode("utf-8", "replace")
            parts.append(struct.pack("<Bd", _STAMPED, stamp) + _length(len(encoded)) + encoded)
        self._put(_chunk(SAMPLES, b"".join(parts)))
        counts.count(timestamps[0], timestamps[-1], len(texts))

    def write_clock_offset(self, stream_id: int, when: float, offset_s: float) -> None:
        """Write one measurement of the sender's clock.

        Parameters
        ----------
        stream_id : int
        when : float
            Time of the measurement on the sender's clock, in seconds.
        offset_s : float
            To be added to the sender's stamps to get the recording machine's clock.
        """
        self._put(_chunk(CLOCK_OFFSET, struct.pack("<Idd", stream_id, when, offset_s)))
        self._streams[stream_id - 1][1].offsets.append((when, offset_s))

    def tick(self) -> None:
        """Write a boundary and put the file on the disk where it is time."""
        now = self._clock()
        if now - self._last_boundary >= BOUNDARY_S:
            self._last_boundary = now
            self._put(_chunk(BOUNDARY, BOUNDARY_MARK))
        if now - self._last_fsync >= self._fsync_s:
            self._last_fsync = now
            os.fsync(self._fd)

    def close(self) -> None:
        """Write all footers and put the file on the disk; may be called twice."""
        if self._fd < 0:
            return
        try:
            for number, (_, counts, _) in enumerate(self._streams, start=1):
                self._put(_chunk(STREAM_FOOTER, struct.pack("<I", number) + counts.footer()))
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _put(self, record: bytes) -> None:
        """Append a whole chunk or nothing."""
        left = memoryview(record)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            with contextlib.suppress(OSError):  # what the disk takes no cut either ends with half a chunk
                os.ftruncate(self._fd, self._n_bytes)
                os.lseek(self._fd, self._n_bytes, os.SEEK_SET)
            raise
        self._n_bytes += len(record)

    def __enter__(self) -> XdfWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _length(n_bytes: int) -> bytes:
    """Return a length as XDF writes it: the size of the number, then the number."""
    if n_bytes < 1 << 8:
        return struct.pack("<BB", 1, n_bytes)
    return struct.pack("<BI", 4, n_bytes) if n_bytes < 1 << 32 else struct.pack("<BQ", 8, n_bytes)


def _chunk(tag: int, content: bytes) -> bytes:
    return _length(len(content) + 2) + struct.pack("<H", tag) + content
