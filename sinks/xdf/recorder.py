"""The recorder of a run: what the source handed over, chosen stages, markers and events, as XDF files.

One run is one or more files, ``signals.xdf``, ``signals-0002.xdf``, ...: each is a whole XDF file with all headers.
A new one begins when the last is long enough, after rows were lost, and when a recorder was started anew, so that the
rows of one file always follow each other; its header says which row of the run it begins with.

Nothing raises because of a disk. While it takes nothing, rows are counted as lost, every few seconds it is asked again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuroloop.config.live import RecorderSettings
from neuroloop.sinks.xdf.stream_header import ChannelFormat, XdfStream
from neuroloop.sinks.xdf.writer import XdfWriter
from neuroloop.stream.contracts.chunks import MONITORING_ID, Chunk, FloatArray, StreamInfo

COUNTER_CHANNEL, VALID_CHANNEL = "sample_number", "valid"
RETRY_S = 5.0
RESERVE_BYTES = 1 << 20
_RESERVE_FILE = "signals.reserve"
_FREE_BYTES = 16 * RESERVE_BYTES
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_log = logging.getLogger("neuroloop.recorder")


@dataclass(frozen=True)
class RecordedRun:
    """What will be recorded.

    Parameters
    ----------
    pipeline : str
        Name of the configuration.
    info : StreamInfo
        The stream as the source describes it.
    has_numbers : bool
        Whether raw rows carry the sender's sample number in a last column.
    taps : mapping
        What each recorded stage gives out, by its name.
    host : str
        Computer whose clock the stamps are of.
    is_played : bool
        Whether the stamps are a recording's own.
    first_sample : int
        Number of the run's first sample, where the rows do not say it.
    stimulates : bool
        Whether there are markers of a stimulator.
    """

    pipeline: str
    info: StreamInfo
    has_numbers: bool
    taps: Mapping[str, StreamInfo]
    host: str = ""
    is_played: bool = False
    first_sample: int = 0
    stimulates: bool = False


class ReceivedMarker(NamedTuple):
    """A marker as it was received: its place among all markers, and how many raw rows had come before it."""

    sequence: int
    n_before: int
    time: float
    label: str
    stream: str


class Recorder:
    """Write the files of one run.

    Parameters
    ----------
    folder : Path
    run : RecordedRun
    settings : RecorderSettings
    next_row : int
        Number of the raw row that will come first; not 0 for a recorder that was started anew.
    clock : callable
        Seconds, for the schedules.
    """

    def __init__(
        self,
        folder: Path,
        run: RecordedRun,
        settings: RecorderSettings,
        *,
        next_row: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._run = run
        self._settings = settings
        self._clock = clock
        self._writer: XdfWriter | None = None
        self._markers: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._part_row = self._next_row = next_row
        self._retry_at = 0.0
        self._last_offset: tuple[float, float] | None = None
        self.n_lost: Counter[str] = Counter()
        """What is in no file: ``samples``, ``tap_rows``, ``markers``, ``events``."""
        self.error: OSError | None = None
        """Why the disk did not take something, the newest reason."""
        self._reserve()

    @property
    def next_row(self) -> int:
        """Number of the raw row that should come next."""
        return self._next_row

    @property
    def path(self) -> Path | None:
        """The file that is being written."""
        return None if self._writer is None else self._writer.path

    def add_rows(self, data: FloatArray, timestamps: FloatArray, first_row: int) -> None:
        """Take raw rows.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels)
            With the sender's sample numbers as the last column where there are any.
        timestamps : array, shape (n_samples,)
        first_row : int
            Number of the first of them among all rows of the run; ones that were left out are lost.
        """
        n_samples = len(timestamps)
        if not n_samples:
            return
        missed = first_row - self._next_row
        if missed > 0:
            self.n_lost["samples"] += missed
            self._end_part()
        elif self._is_long_enough():
            self._end_part()
        self._next_row = first_row
        if not self._attempt(lambda writer: writer.write_samples(self._ids["data"], data, timestamps)):
            self.n_lost["samples"] += n_samples
        self._next_row = first_row + n_samples

    def add_tap_rows(self, tap: str, chunk: Chunk) -> None:
        """Take the rows of a recorded stage."""
        n_rows = len(chunk)
        if not n_rows:
            return
        data = np.empty((n_rows, chunk.data.shape[1] + 2))
        data[:, :-2] = chunk.data
        data[:, -2] = chunk.valid
        data[:, -1] = np.arange(chunk.first_sample, chunk.next_sample)
        stamps = chunk.timestamps
        if not self._attempt(lambda writer: writer.write_samples(self._ids[f"tap {tap}"], data, stamps)):
            self.n_lost["tap_rows"] += n_rows

    def add_markers(self, markers: Sequence[ReceivedMarker]) -> None:
        """Take markers, on the clock of the data stream, in the order in which they came."""
        if markers and not self._attempt(lambda writer: self._write_markers(writer, markers)):
            self.n_lost["markers"] += len(markers)

    def add_events(self, lines: Sequence[str], stamps: Sequence[float]) -> None:
        """Take the canonical lines of events and their times."""
        if lines and not self._attempt(lambda writer: writer.write_texts(self._ids["events"], lines, stamps)):
            self.n_lost["events"] += len(lines)

    def add_stimulation(self, markers: Sequence[str], stamps: Sequence[float]) -> None:
        """Take what was commanded and what was refused, as `neuroloop.sinks.xdf.stimulation_markers` writes it."""
        if markers and not self._attempt(lambda writer: writer.write_texts(self._ids["stimulation"], markers, stamps)):
            self.n_lost["events"] += len(markers)

    def add_clock_offset(self, now: float, offset_s: float) -> None:
        """Take a measurement of the sender's clock.

        Parameters
        ----------
        now : float
            When, on this machine's LSL clock.
        offset_s : float
            What turns the sender's stamps into that clock.
        """
        self._last_offset = (now - offset_s, offset_s)
        self._attempt(self._write_offset)

    def tick(self) -> None:
        """Do what is due by time: boundary, fsync, look whether the file is still there."""
        if self._writer is not None:
            self._attempt(_tick)

    def close(self) -> None:
        """Finish the file with its footers; a run without rows gets one, too. May be called twice."""
        if self._writer is None and self._part_row == self._next_row == 0 and self.error is None:
            self._attempt(lambda writer: None)
        self._end_part()
        (self._folder / _RESERVE_FILE).unlink(missing_ok=True)

    def _is_long_enough(self) -> bool:
        if self._writer is None:
            return False
        settings, sfreq = self._settings, self._run.info.sfreq
        rows = self._next_row - self._part_row
        is_long = settings.rotate_s is not None and rows >= settings.rotate_s * sfreq
        return is_long or (settings.rotate_mb is not None and self._writer.n_bytes >= settings.rotate_mb * 1e6)

    def _attempt(self, write: Callable[[XdfWriter], None]) -> bool:
        """Let a function write to the file, opening one if need be; say whether the disk took it."""
        if self._writer is None and self._clock() < self._retry_at:
            return False
        try:
            if self._writer is None:
                self._begin_part()
            if self._writer is not None:
                write(self._writer)
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _begin_part(self) -> None:
        """Open the next file and write its headers."""
        if self.error is not None and self.error.errno in _DISK_FULL:
            status = os.statvfs(self._folder)
            if status.f_bavail * status.f_frsize < _FREE_BYTES:
                raise self.error
            self._reserve()
        writer = XdfWriter(self._next_path(), fsync_s=self._settings.fsync_s, clock=self._clock)
        self._part_row = self._next_row
        try:
            self._write_headers(writer)
        except OSError:
            with contextlib.suppress(OSError):
                writer.close()
            writer.path.unlink(missing_ok=True)
            raise
        self._writer = writer
        if self.error is not None:
            _log.warning("recording goes on in %s", writer.path.name)

    def _write_headers(self, writer: XdfWriter) -> None:
        """Write the headers of all streams but those of markers, which come with their first marker."""
        self._markers.clear()
        self._ids = {"data": writer.add_stream(self._data_stream())}
        for tap, info in self._run.taps.items():
            self._ids[f"tap {tap}"] = writer.add_stream(self._tap_stream(tap, info))
        self._ids["events"] = writer.add_stream(self._text_stream("events", "Markers", "string", ("event",)))
        self._ids["arrivals"] = writer.add_stream(
            self._text_stream("arrivals", "neuroloop-arrivals", "int64", ("sequence", "stream", "n_before"))
        )
        if self._run.stimulates:
            stream = self._text_stream("stimulation", "Markers", "string", ("stimulation",))
            self._ids["stimulation"] = writer.add_stream(stream)
        self._write_offset(writer)

    def _next_path(self) -> Path:
        path, number = self._folder / "signals.xdf", 1
        while path.exists():
            number += 1
            path = self._folder / f"signals-{number:04d}.xdf"
        return path

    def _end_part(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                self._say(error)

    def _fail(self, error: OSError) -> None:
        """Close the file as well as can be, and wait before the next one."""
        self._retry_at = self._clock() + RETRY_S
        if error.errno in _DISK_FULL:  # room for the footers, and for the summary of the run
            (self._folder / _RESERVE_FILE).unlink(missing_ok=True)
        self._say(error)
        self._end_part()

    def _say(self, error: OSError) -> None:
        """Tell a failure once, not again while it lasts."""
        if self.error is None or self.error.errno != error.errno:
            why = error.strerror or str(error)
            _log.error("recording stopped (%s): the run goes on, its samples are counted as lost", why)
        self.error = error

    def _reserve(self) -> None:
        """Keep some room for the end; without it the run still works."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._folder / _RESERVE_FILE, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def _write_markers(self, writer: XdfWriter, markers: Sequence[ReceivedMarker]) -> None:
        """Write the order of arrival first: a marker that has none would be taken twice after a restart."""
        for marker in markers:
            if marker.stream not in self._markers:
                self._markers[marker.stream] = writer.add_stream(self._marker_stream(marker.stream))
                if self._last_offset is not None:
                    writer.write_clock_offset(self._markers[marker.stream], *self._last_offset)
        numbers = np.array([[one.sequence, self._markers[one.stream], one.n_before] for one in markers], np.int64)
        writer.write_samples(self._ids["arrivals"], numbers, np.array([one.time for one in markers]))
        for name in dict.fromkeys(one.stream for one in markers):
            of_stream = [one for one in markers if one.stream == name]
            labels, stamps = [one.label for one in of_stream], [one.time for one in of_stream]
            writer.write_texts(self._markers[name], labels, stamps)

    def _write_offset(self, writer: XdfWriter) -> None:
        """All streams of the file are on the data's clock."""
        if self._last_offset is not None:
            for number in (*self._ids.values(), *self._markers.values()):
                writer.write_clock_offset(number, *self._last_offset)

    def _data_stream(self) -> XdfStream:
        run, info = self._run, self._run.info
        rows = list(zip(info.ch_names, info.ch_types, info.ch_units, strict=True))
        value_format = self._settings.format
        if run.has_numbers:
            rows.append((COUNTER_CHANNEL, "counter", ""))
            value_format = "double64"  # a float32 counts to 2**24 only
        own = {"counter": "channel" if run.has_numbers else "none", "first_row": str(self._part_row)}
        if run.first_sample:
            own["first_sample"] = str(run.first_sample)
        return self._stream("data", info, info, rows, value_format, own)

    def _tap_stream(self, tap: str, info: StreamInfo) -> XdfStream:
        name, source_id = self._monitoring(tap)
        as_recorded = replace(info, name=name, type="neuroloop-signal", source_id=source_id)
        rows = list(zip(info.ch_names, info.ch_types, info.ch_units, strict=True))
        rows += [(VALID_CHANNEL, "misc", ""), (COUNTER_CHANNEL, "counter", "")]
        return self._stream(
            "tap", as_recorded, as_recorded, rows, "double64", {"counter": "channel", "valid": "channel"}
        )

    def _text_stream(self, what: str, kind: str, value_format: ChannelFormat, columns: tuple[str, ...]) -> XdfStream:
        name, source_id = self._monitoring(what)
        info = StreamInfo(name, kind, source_id, 0.0, (), (), ())
        return self._stream(what, info, None, [(column, kind, "") for column in columns], value_format, {})

    def _marker_stream(self, name: str) -> XdfStream:
        info = StreamInfo(name, "Markers", "neuroloop-markers-" + _digest(name), 0.0, (), (), ())
        return self._stream("markers", info, None, [("marker", "Markers", "")], "string", {"clock": "data"})

    def _stream(
        self,
        role: str,
        info: StreamInfo,
        exact: StreamInfo | None,
        rows: Sequence[tuple[str, str, str]],
        value_format: ChannelFormat,
        own: Mapping[str, str],
    ) -> XdfStream:
        """Describe a stream; as JSON what XML would change: blanks at the ends, some characters."""
        names, types, units = zip(*rows, strict=True)
        described = asdict(exact) if exact is not None else {"name": info.name}
        # A tap has gaps where the input had: a rate would let readers lay its rows out evenly (pyxdf does by default).
        # Its true rate stands in the exact description.
        sfreq = 0.0 if role == "tap" else info.sfreq
        return XdfStream(
            name=info.name,
            type=info.type,
            source_id=info.source_id,
            sfreq=sfreq,
            ch_names=names,
            ch_types=types,
            ch_units=units,
            channel_format=value_format,
            hostname=self._run.host,
            manufacturer="neuroloop",
            own={
                "role": role,
                "stream_name": info.name,
                "stamps": "recording" if self._run.is_played else "clock",
                **own,
                "info": json.dumps(described),
            },
        )

    def _monitoring(self, what: str) -> tuple[str, str]:
        """Return name and id of a stream that is no input."""
        run = self._run
        return f"{run.pipeline}-{what}", MONITORING_ID + _digest("\0".join((run.pipeline, run.info.name, what)))


def _tick(writer: XdfWriter) -> None:
    writer.tick()
    if not writer.path.exists():
        raise OSError(errno.ENOENT, "the file was removed")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
