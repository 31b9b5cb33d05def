"""What a recording holds, and how one of its streams is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import RecordingError, StreamMismatch
from neuroloop.stream.contracts.chunks import MONITORING_ID, BoolArray, FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.channel_types import is_eeg_like, preference
from neuroloop.stream.sources.recordings.run_script import RunScript


@dataclass(frozen=True, eq=False)
class RecordedStream:
    """One stream of one rate, as recorded; its arrays are made read-only.

    Parameters
    ----------
    info : StreamInfo
    data : array, shape (n_samples, n_channels), float64, C order
        In the file's own units.
    timestamps : array, shape (n_samples,), float64
        The sender's raw stamps in seconds, or ``sample_numbers / sfreq`` where the file only implies a clock.
    sample_numbers : array, shape (n_samples,), int64, optional
        The file's own exact count of samples, lost ones counted in; None where only the stamps can tell.
    valid : array, shape (n_samples,), bool, optional
        Only where the file has it.
    clock_offset_s : float, optional
        Median of the recorded clock offsets: stamps + offset are seconds of the recording computer's clock.
    host : str
        Name of the sending computer, where the file says it.
    first_sample : int
        Number of the first sample where there are no ``sample_numbers``.
    first_row : int, optional
        Number of the first row among all that a run received; None where it is no recorded run's input.
    """

    info: StreamInfo
    data: FloatArray
    timestamps: FloatArray
    sample_numbers: NDArray[np.int64] | None = None
    valid: BoolArray | None = None
    clock_offset_s: float | None = None
    host: str = ""
    first_sample: int = 0
    first_row: int | None = None

    def __post_init__(self) -> None:
        n_samples = len(self.timestamps)
        if self.data.shape != (n_samples, self.info.n_channels):
            raise ValueError(f"data must have shape {(n_samples, self.info.n_channels)!r}, got {self.data.shape!r}")
        for label, values in (("sample_numbers", self.sample_numbers), ("valid", self.valid)):
            if values is not None and values.shape != (n_samples,):
                raise ValueError(f"{label} must have shape {(n_samples,)!r}, got {values.shape!r}")
        for array in (self.data, self.timestamps, self.sample_numbers, self.valid):
            if array is not None:
                array.flags.writeable = False

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.timestamps)


@dataclass(frozen=True)
class MarkerStream:
    """Markers of one sender, on that sender's own clock.

    Parameters
    ----------
    name : str
    markers : tuple of Marker
        In order of time.
    clock_offset_s, host
        As in `RecordedStream`.
    about : str
        Name of the only data stream that the markers belong to; empty: all of them.
    """

    name: str
    markers: tuple[Marker, ...]
    clock_offset_s: float | None = None
    host: str = ""
    about: str = ""


@dataclass(frozen=True, eq=False)
class Recording:
    """A file's data streams, its markers, and what a user should be told about it, one short line each."""

    path: Path
    streams: tuple[RecordedStream, ...]
    marker_streams: tuple[MarkerStream, ...] = ()
    notes: tuple[str, ...] = ()
    script: RunScript | None = None
    """Where it is a run's recording: what the pipeline was told beside the samples."""

    @property
    def markers(self) -> tuple[Marker, ...]:
        """All markers as recorded, each on its own sender's clock, in order of time."""
        return _in_order([marker for stream in self.marker_streams for marker in stream.markers])

    def markers_for(self, stream: RecordedStream) -> tuple[Marker, ...]:
        """Return the markers that concern one data stream, on that stream's raw clock, in order of time.

        Markers of another computer are shifted by the difference of the two streams' median clock offsets; those of
        the same computer, and all where the file has no offsets, are not shifted.
        """
        markers: list[Marker] = []
        for source in self.marker_streams:
            if source.about in ("", stream.info.name):
                shift_s = clock_shift_s(source, stream)
                if shift_s == 0.0:
                    markers.extend(source.markers)
                else:
                    markers.extend(Marker(m.time + shift_s, m.label, m.stream) for m in source.markers)
        return _in_order(markers)


def clock_shift_s(source: MarkerStream, stream: RecordedStream) -> float:
    """Return the seconds to add to a marker's stamp to get the data stream's clock."""
    if source.clock_offset_s is None or stream.clock_offset_s is None:
        return 0.0
    if source.host == stream.host and source.host.lower() not in ("", "localhost"):
        return 0.0
    return source.clock_offset_s - stream.clock_offset_s


def median(values: Sequence[float]) -> float:
    """Return the middle of the sorted values, of an even number the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[half])
    return (ordered[half - 1] + ordered[half]) / 2.0


def select_stream(recording: Recording, select: str | None = None) -> RecordedStream:
    """Choose one stream of a recording.

    Parameters
    ----------
    recording : Recording
    select : str, optional
        A stream's name or id, or its type in any letter case; names are looked up first, then ids, then types. Without
        it: the only stream with samples, or of several the one of the most EEG-like type.

    Raises
    ------
    StreamMismatch
        If no stream, or more than one, answers to it; the message lists all streams.
    RecordingError
        If the stream that was asked for has no samples, or none has.
    """
    filled = [stream for stream in recording.streams if stream.n_samples]
    if select is None:
        if not filled:
            raise RecordingError(
                f"path must be a recording with a data stream that has samples, got {str(recording.path)!r}"
                f"{_listing(recording)}"
            )
        inputs = [stream for stream in filled if not stream.info.source_id.startswith(MONITORING_ID)]
        return _preferred(recording, inputs or filled)
    found = _matching(recording.streams, select)
    if not found:
        raise StreamMismatch(
            f"select must be the name, type or id of a stream of {recording.path.name}, got {select!r}"
            f"{_listing(recording)}"
        )
    with_samples = [stream for stream in found if stream.n_samples]
    if not with_samples:
        raise RecordingError(
            f"select must be a stream with samples, got {select!r} without any in {recording.path.name}"
            f"{_listing(recording)}"
        )
    if len(with_samples) > 1:
        raise StreamMismatch(
            f"select must name one stream of {recording.path.name}, got {select!r} for {len(with_samples)} of them"
            f"{_listing(recording)}"
        )
    return with_samples[0]


def _matching(streams: Sequence[RecordedStream], select: str) -> list[RecordedStream]:
    """Return the streams that answer to a name, else to an id, else to a type."""
    by_name = [stream for stream in streams if stream.info.name == select]
    by_id = [stream for stream in streams if stream.info.source_id == select]
    by_type = [stream for stream in streams if stream.info.type.lower() == select.lower()]
    for found in (by_name, by_id, by_type):
        if len([stream for stream in found if stream.n_samples]) == 1:
            return found
    return by_name or by_id or by_type


def _preferred(recording: Recording, filled: list[RecordedStream]) -> RecordedStream:
    """Choose among the streams with samples where the user did not."""
    if len(filled) == 1:
        return filled[0]
    eeg_like = [stream for stream in filled if is_eeg_like(stream.info.type)]
    best = min((preference(stream.info.type) for stream in eeg_like), default=-1)
    chosen = [stream for stream in eeg_like if preference(stream.info.type) == best]
    if len(chosen) != 1:
        raise StreamMismatch(
            f"select must be given for {recording.path.name}, which has {len(filled)} streams with samples, got None"
            f"{_listing(recording)}"
        )
    return chosen[0]


def _listing(recording: Recording, most: int = 20) -> str:
    """Describe the streams, for the end of a one-line message."""
    rows = [
        f"{s.info.name!r} (type {s.info.type or '-'}, id {s.info.source_id or '-'}, {s.info.sfreq:g} Hz, "
        f"{s.info.n_channels} channels, {s.n_samples} samples)"
        for s in recording.streams[:most]
    ]
    if len(recording.streams) > most:
        rows.append(f"and {len(recording.streams) - most} more")
    n_markers = len(recording.markers)
    if n_markers:
        rows.append(f"{n_markers} markers")
    return "; it has " + (", ".join(rows) if rows else "no streams")


def _in_order(markers: list[Marker]) -> tuple[Marker, ...]:
    return tuple(sorted(markers, key=lambda marker: marker.time))
