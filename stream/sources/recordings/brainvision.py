"""BrainVision recordings (.vhdr, .vmrk and the data file): exact resolution and unit, dated segments.

A reader of its own: values stay in the header's unit without a detour over volts, and the dates of ``New Segment``
markers say how many samples a pause cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type
from neuroloop.stream.sources.recordings.clock import ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes, read_bytes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.recordings.text_numbers import decimal_number, whole_number
from neuroloop.stream.sources.stream_description import unique_names
from neuroloop.stream.sources.units import normal_unit

_BINARY = {"INT_16": "<i2", "UINT_16": "<u2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4", "IEEE_FLOAT_64": "<f8"}
_MAGIC = re.compile(r"brain ?vision data exchange (header|marker) file|brainvision core data format", re.IGNORECASE)
_MOST_CHANNELS = 65536
_Sections = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class _Mark:
    """One line of the marker file; ``row`` counts from 0."""

    kind: str
    description: str
    row: int
    date: str


def read_brainvision(path: Path) -> Recording:
    """Read a BrainVision recording.

    Parameters
    ----------
    path : Path
        The header file, or one of its two companions.

    Returns
    -------
    Recording
        One stream; markers are labelled ``Type/Description``. Sample numbers jump where a dated ``New Segment`` says
        that recording paused.

    Raises
    ------
    RecordingError
        If a file is missing or the header is not one, or the data are stored as text.

    References
    ----------
    .. [1] BrainVision Core Data Format 1.0, Brain Products, 2020.
    """
    if path.suffix.lower() in (".eeg", ".vmrk", ".dat"):
        path = path.with_suffix(".vhdr")
    notes = Notes()
    header = _sections(path)
    common = header.get("common infos", {})
    n_channels = whole_number(common.get("numberofchannels", ""))
    period_us = decimal_number(common.get("samplinginterval", ""))
    if n_channels is None or not 0 < n_channels <= _MOST_CHANNELS:
        raise unreadable(
            path, f"NumberOfChannels must be in [1, {_MOST_CHANNELS}], got {common.get('numberofchannels')!r}"
        )
    if period_us is None or not 1e-6 < period_us < 1e15:
        raise unreadable(
            path, f"SamplingInterval must be a number of microseconds > 0, got {common.get('samplinginterval')!r}"
        )
    names, units, resolutions = _channels(path, header.get("channel infos", {}), n_channels)
    stored = _stored(path, header, n_channels, notes)
    data = np.empty(stored.shape)
    with np.errstate(all="ignore"):
        np.multiply(stored, resolutions, out=data, casting="unsafe")
    labels, doubled = unique_names(names)
    notes.extend(doubled)
    types = tuple(guess_channel_type(label) for label in labels)
    sfreq = 1e6 / period_us
    marks = _marks(path, common.get("markerfile", ""), notes)
    clock = ImpliedClock(len(data), sfreq, _segments(marks, sfreq, notes))
    info = StreamInfo(path.stem, most_common_type(types), "", sfreq, labels, types, units)
    markers = [
        Marker(clock.time_of_row(max(mark.row, 0)), f"{mark.kind}/{mark.description}", "markers")
        for mark in marks
        if mark.kind != "New Segment"
    ]
    markers.sort(key=lambda marker: marker.time)
    stream = RecordedStream(info, data, clock.timestamps, clock.sample_numbers)
    return Recording(path, (stream,), (MarkerStream("markers", tuple(markers)),) if markers else (), notes.lines())


def _sections(path: Path) -> _Sections:
    """Parse a header or marker file: sections and keys in lower case; free text of comments is passed over."""
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = text.splitlines()
    if not lines or not _MAGIC.match(lines[0].strip()):
        raise unreadable(path, "it does not begin like a BrainVision header or marker file")
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in lines[1:]:
        plain = line.strip()
        if plain.startswith("[") and plain.endswith("]"):
            current = sections.setdefault(plain[1:-1].strip().lower(), {})
        elif "=" in plain and not plain.startswith(";"):
            key, _, value = plain.partition("=")
            current[key.strip().lower()] = value.strip()
    return sections


def _channels(path: Path, entries: Mapping[str, str], n_channels: int) -> tuple[list[str], tuple[str, ...], FloatArray]:
    """Read names, units and resolutions of the channels."""
    names, units, resolutions = [], [], np.ones(n_channels)
    for index in range(n_channels):
        entry = entries.get(f"ch{index + 1}")
        if entry is None:
            raise unreadable(path, f"it describes no channel Ch{index + 1} of {n_channels}")
        fields = [item.replace("\\1", ",").strip() for item in entry.split(",")] + [""] * 4
        names.append(fields[0] or f"ch{index + 1}")
        resolution = 1.0 if not fields[2] else decimal_number(fields[2])
        if resolution is None or resolution == 0:
            raise unreadable(path, f"resolution of Ch{index + 1} must be a number other than 0, got {fields[2]!r}")
        resolutions[index] = resolution
        units.append(normal_unit(fields[3]) if fields[3] else "uV")
    return names, tuple(units), resolutions


def _stored(path: Path, header: _Sections, n_channels: int, notes: Notes) -> NDArray[np.generic]:
    """Return the stored numbers, shape (n_samples, n_channels)."""
    common = header.get("common infos", {})
    kind, orientation = common.get("dataformat", "BINARY").upper(), common.get("dataorientation", "").upper()
    code = _BINARY.get(header.get("binary infos", {}).get("binaryformat", "").upper())
    if kind != "BINARY" or code is None:
        raise unreadable(
            path,
            f"DataFormat must be BINARY with BinaryFormat one of {sorted(_BINARY)}, got {kind!r} with "
            f"{header.get('binary infos', {}).get('binaryformat')!r}",
        )
    if orientation not in ("MULTIPLEXED", "VECTORIZED"):
        raise unreadable(path, f"DataOrientation must be MULTIPLEXED or VECTORIZED, got {orientation!r}")
    buffer = read_bytes(_companion(path, common.get("datafile", ""), ".eeg", notes))
    size = np.dtype(code).itemsize * n_channels
    n_samples, rest = divmod(len(buffer), size)
    if n_samples == 0:
        raise unreadable(path, "its data file has no complete sample")
    if rest and orientation == "VECTORIZED":
        raise unreadable(path, f"its data file must hold {n_channels} channels of one length, got {rest} bytes over")
    if rest:
        notes.add(f"{rest} bytes behind the last complete sample are not read")
    stored = np.frombuffer(buffer, code, n_samples * n_channels)
    if orientation == "VECTORIZED":
        return stored.reshape(n_channels, n_samples).T
    return stored.reshape(n_samples, n_channels)


def _companion(path: Path, name: str, suffix: str, notes: Notes) -> Path:
    """Find the file that the header names; one that was renamed together with the header is found too."""
    named = name.replace("$b", path.stem).replace("\\", "/").rsplit("/", 1)[-1]
    target, own = path.with_name(named or path.stem + suffix), path.with_suffix(suffix)
    if not target.is_file() and own.is_file():
        notes.add(f"its header names {named!r}, which is not there: {own.name!r} is read")
        return own
    return target


def _marks(path: Path, name: str, notes: Notes) -> list[_Mark]:
    """Read the marker file, in the file's order."""
    target = _companion(path, name, ".vmrk", notes)
    if not target.is_file():
        notes.add("it has no marker file")
        return []
    marks = []
    for key, value in _sections(target).get("marker infos", {}).items():
        fields = [item.replace("\\1", ",").strip() for item in value.split(",")] + [""] * 6
        position = whole_number(fields[2])
        if not re.fullmatch(r"mk\d+", key) or position is None:
            notes.add(f"marker line {key!r} cannot be read and is left out")
            continue
        marks.append(_Mark(fields[0], fields[1], position - 1, fields[5]))
    return marks


def _segments(marks: list[_Mark], sfreq: float, notes: Notes) -> list[tuple[int, int]]:
    """Turn dated ``New Segment`` markers into (row, sample number)."""
    segments = sorted((mark for mark in marks if mark.kind == "New Segment"), key=lambda mark: mark.row)
    jumps: list[tuple[int, int]] = []
    begin: datetime | None = None
    for mark in segments:
        date = _date(mark.date)
        if mark.row <= 0:
            begin = date
        elif date is None or begin is None:
            notes.add(f"the segment at row {mark.row} carries no date: numbered as if nothing was lost")
        else:
            passed = date - begin
            number = round((passed.days * 86400 + passed.seconds + passed.microseconds / 1e6) * sfreq)
            last_row, last_number = jumps[-1] if jumps else (0, 0)
            lost = number - (last_number + mark.row - last_row)
            if lost < 0:
                notes.add(f"the segment at row {mark.row} is dated before the one before it ends: numbered on")
            elif lost:
                notes.add(f"recording paused at row {mark.row}: {lost} samples ({lost / sfreq:.3f} s) are missing")
            jumps.append((mark.row, max(number, last_number + mark.row - last_row)))
    return jumps


def _date(text: str) -> datetime | None:
    """Read ``YYYYMMDDhhmmssuuuuuu``; None where it is missing or all zeros."""
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S%f") if len(text) == 20 else None
    except ValueError:
        return None
