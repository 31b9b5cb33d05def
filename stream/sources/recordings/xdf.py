"""XDF recordings (LabRecorder): raw stamps as sent, markers of string and integer streams.

Nothing is synchronised or smoothed: `pyxdf` does both by default and so rewrites every stamp.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.lsl.stamps import restore
from neuroloop.stream.sources.recordings import xdf_chunks as chunks
from neuroloop.stream.sources.recordings.clock import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from neuroloop.stream.sources.recordings.faults import Notes, read_bytes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording, median
from neuroloop.stream.sources.recordings.run_script import RunScript, script_of
from neuroloop.stream.sources.recordings.xdf_chunks import DamagedChunk, SampleReader, XdfChunk, walk_chunks
from neuroloop.stream.sources.recordings.xdf_own import OwnHeader, arrivals, marker_name, parsed_events, split_columns
from neuroloop.stream.sources.stream_description import describe_channels, field_text, parse_xml, short_text

MAX_CHANNELS = 65536
_CLOCK_RESET_S = 1.0
_MARKER_TYPE = re.compile(r"marker|event|trigger|stim|annotation", re.IGNORECASE)


@dataclass
class _XdfStream:
    """One stream while the file is read."""

    header: Element
    reader: SampleReader
    offset_times: list[float] = field(default_factory=list)
    offsets_s: list[float] = field(default_factory=list)
    has_footer: bool = False
    n_announced: int | None = None

    def __post_init__(self) -> None:
        self.own = OwnHeader.of(self.header)

    @property
    def name(self) -> str:
        return short_text(self.header, "name")

    @property
    def type(self) -> str:
        return short_text(self.header, "type")

    @property
    def is_markers(self) -> bool:
        """Text, or numbers at no fixed rate whose type says that they mark events."""
        if self.reader.channel_format == "string":
            return True
        return self.reader.sfreq == 0 and bool(_MARKER_TYPE.search(self.type))

    @property
    def label(self) -> str:
        return f"stream {self.name!r} (type {self.type or '-'})"

    def timestamps(self) -> FloatArray:
        parts = self.reader.timestamps
        return np.concatenate(parts) if parts else np.empty(0)


def read_xdf(path: Path) -> Recording:
    """Read an XDF file.

    Parameters
    ----------
    path : Path
        ``.xdf``, or compressed ``.xdfz`` or ``.xdf.gz``.

    Returns
    -------
    Recording
        Streams in the file's order, also those without samples. Chunks that are damaged, in front of their stream's
        header or cut off are left out and noted, with the complete samples of the last one kept.

    Raises
    ------
    RecordingError
        If it is no XDF file, or holds no stream that can be read.

    References
    ----------
    .. [1] XDF 1.0 specification, https://github.com/sccn/xdf/wiki/Specifications
    """
    buffer = read_bytes(path)
    if buffer[:4] != b"XDF:":
        raise unreadable(path, "it does not begin with 'XDF:'")
    notes = Notes()
    streams: dict[int, _XdfStream] = {}
    for chunk in walk_chunks(buffer, notes):
        _take(buffer, chunk, streams, notes)
    if not streams:
        raise unreadable(path, "; ".join(("XDF file without a readable stream", *notes.lines())))
    for stream in streams.values():
        if stream.own.role in ("", "data", "markers"):  # the others' stamps follow from the data
            _note_oddities(stream, stream.timestamps(), notes)
    data_streams = [
        _data_stream(stream, notes)
        for stream in streams.values()
        if not stream.is_markers and stream.own.role != "arrivals"
    ]
    marker_streams = {
        number: _marker_stream(stream)
        for number, stream in streams.items()
        if stream.is_markers and not stream.own.is_monitoring
    }
    script = _script(streams, marker_streams, notes)
    ordered = (
        replace(stream, markers=tuple(sorted(stream.markers, key=lambda marker: marker.time)))
        for stream in marker_streams.values()
    )
    return Recording(path, tuple(data_streams), tuple(ordered), notes.lines(), script)


def _script(streams: dict[int, _XdfStream], marker_streams: dict[int, MarkerStream], notes: Notes) -> RunScript | None:
    """Return what the pipeline was told, where our own recorder wrote the file."""
    by_role = {stream.own.role: stream for stream in streams.values()}
    if "data" not in by_role:
        return None
    rows = by_role["arrivals"].reader.values if "arrivals" in by_role else []
    texts = by_role["events"].reader.texts if "events" in by_role else []
    numbers = np.concatenate(rows) if rows else np.empty((0, 3), np.int64)
    name = marker_name(by_role["data"].own, by_role["data"].name)
    return script_of(name, arrivals(numbers, marker_streams), parsed_events(texts, notes))


def _take(buffer: bytes, chunk: XdfChunk, streams: dict[int, _XdfStream], notes: Notes) -> None:
    """Add what one chunk says."""
    if chunk.tag not in (chunks.STREAM_HEADER, chunks.SAMPLES, chunks.CLOCK_OFFSET, chunks.STREAM_FOOTER):
        return
    if chunk.end - chunk.begin < 4:
        notes.add(f"damaged at byte {chunk.begin}: a chunk without a stream id")
        return
    stream_id = int.from_bytes(buffer[chunk.begin : chunk.begin + 4], "little")
    content = XdfChunk(chunk.tag, chunk.begin + 4, chunk.end, chunk.is_cut)
    if chunk.tag == chunks.STREAM_HEADER:
        _open_stream(buffer, content, stream_id, streams, notes)
        return
    stream = streams.get(stream_id)
    if stream is None:
        notes.add(f"stream id {stream_id} has chunks but no readable header in front of them: they are left out")
    elif chunk.tag == chunks.SAMPLES:
        try:
            stream.reader.read(buffer, content)
        except DamagedChunk as error:
            notes.add(f"{stream.label}: damaged samples at byte {chunk.begin} are left out ({error})")
    elif chunk.tag == chunks.CLOCK_OFFSET:
        if content.end - content.begin >= 16:
            when, offset_s = struct.unpack_from("<dd", buffer, content.begin)
            if math.isfinite(when) and math.isfinite(offset_s):
                stream.offset_times.append(when)
                stream.offsets_s.append(offset_s)
    else:
        stream.has_footer = True
        footer = parse_xml(buffer[content.begin : content.end].decode("utf-8", "replace"))
        announced = field_text(footer, "sample_count")
        stream.n_announced = int(announced) if announced.isdecimal() and len(announced) < 18 else None


def _open_stream(
    buffer: bytes, content: XdfChunk, stream_id: int, streams: dict[int, _XdfStream], notes: Notes
) -> None:
    """Take a stream header; one that cannot be used is noted and leaves the stream out."""
    if stream_id in streams:
        notes.add(f"{streams[stream_id].label}: a second header of the same stream id is not used")
        return
    header = parse_xml(buffer[content.begin : content.end].decode("utf-8", "replace"))
    if header is None:
        notes.add(f"stream id {stream_id} is left out: its header is not well-formed XML")
        return
    count, kind = field_text(header, "channel_count"), field_text(header, "channel_format")
    if not (count.isdecimal() and len(count) < 9 and 0 < int(count) <= MAX_CHANNELS) or kind not in chunks.FORMATS:
        notes.add(
            f"stream {field_text(header, 'name')!r} is left out: channel_count must be in [1, {MAX_CHANNELS}] and "
            f"channel_format one of {sorted(chunks.FORMATS)}, got {count[:20]!r} and {kind[:20]!r}"
        )
        return
    rate = field_text(header, "nominal_srate")
    try:
        sfreq = float(rate)
    except ValueError:
        sfreq = math.nan
    is_rate = sfreq == 0 or LOWEST_RATE_HZ <= sfreq <= HIGHEST_RATE_HZ
    stream = _XdfStream(header, SampleReader(int(count), kind, sfreq if is_rate else 0.0))
    if not is_rate:
        notes.add(f"{stream.label}: nominal_srate must be 0 or in [1e-9, 1e9], got {rate[:20]!r}: read as irregular")
    streams[stream_id] = stream


def _data_stream(stream: _XdfStream, notes: Notes) -> RecordedStream:
    """Make the arrays of a data stream."""
    reader, header = stream.reader, stream.header
    table = describe_channels(header.find("desc"), reader.n_channels, stream.type)
    notes.extend(f"{stream.label}: {note}" for note in table.notes)
    info = StreamInfo(
        name=stream.name,
        type=stream.type,
        source_id=short_text(header, "source_id"),
        sfreq=reader.sfreq,
        ch_names=table.names,
        ch_types=table.types,
        ch_units=table.units,
    )
    timestamps = stream.timestamps()
    data = np.empty((len(timestamps), reader.n_channels))
    row = 0
    with np.errstate(all="ignore"):
        for part in reader.values:
            data[row : row + len(part)] = part
            row += len(part)
    recorded = RecordedStream(
        info, data, timestamps, clock_offset_s=_offset(stream), host=short_text(header, "hostname")
    )
    return split_columns(recorded, stream.own)


def _marker_stream(stream: _XdfStream) -> MarkerStream:
    """Make the markers of a marker stream, in the file's order; those without a finite stamp are left out."""
    timestamps = stream.timestamps()
    texts: Sequence[str] = stream.reader.texts
    if stream.reader.channel_format != "string":
        texts = [" ".join(map(_number_text, row)) for part in stream.reader.values for row in part.tolist()]
    name = marker_name(stream.own, stream.name)
    if stream.own.stamps == "recording" and not stream.own.role:
        restore(timestamps)
    markers = [
        Marker(when, text, name) for when, text in zip(timestamps.tolist(), texts, strict=True) if math.isfinite(when)
    ]
    offset = None if stream.own.clock == "data" else _offset(stream)
    return MarkerStream(name, tuple(markers), offset, short_text(stream.header, "hostname"))


def _number_text(value: float) -> str:
    """Write a marker's number: a whole one without a point."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _offset(stream: _XdfStream) -> float | None:
    return median(stream.offsets_s) if stream.offsets_s else None


def _note_oddities(stream: _XdfStream, timestamps: NDArray[Any], notes: Notes) -> None:
    """Say what a user should know about one stream."""
    n_samples = len(timestamps)
    if not n_samples:
        notes.add(f"{stream.label}: no samples")
    if not stream.has_footer:
        notes.add(f"{stream.label}: no footer, the recording was not closed properly")
    elif stream.n_announced is not None and n_samples - stream.n_announced not in (0, 1):  # LabRecorder counts one less
        notes.add(f"{stream.label}: its footer announces {stream.n_announced} samples, the file has {n_samples}")
    jumps = sum(
        1 for a, b in zip(stream.offsets_s, stream.offsets_s[1:], strict=False) if not abs(b - a) <= _CLOCK_RESET_S
    )
    if jumps:
        notes.add(f"{stream.label}: the sender's clock was reset (its offset jumps {jumps} times by more than 1 s)")
    if any(b < a for a, b in zip(stream.offset_times, stream.offset_times[1:], strict=False)) and not jumps:
        notes.add(f"{stream.label}: clock offsets are not in order of time")
    with np.errstate(all="ignore"):
        n_back = int(np.count_nonzero(np.diff(timestamps) < 0))
        n_odd = int(n_samples - np.count_nonzero(np.isfinite(timestamps)))
    if n_back:
        notes.add(f"{stream.label}: stamps step back {n_back} times")
    if n_odd:
        notes.add(f"{stream.label}: {n_odd} stamps are not finite numbers")
