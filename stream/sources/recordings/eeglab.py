"""EEGLAB datasets (.set, with the data inside or in a .fdt file).

Values stay what the file holds (no detour over volts, no float32 cast of double data), and the length that a
``boundary`` event records becomes a jump of the sample numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type, normal_channel_type
from neuroloop.stream.sources.recordings.clock import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes, read_bytes, unreadable
from neuroloop.stream.sources.recordings.mat_file import DamagedMat, read_mat
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.stream_description import unique_names

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_eeglab(path: Path) -> Recording:
    """Read a continuous EEGLAB dataset.

    Parameters
    ----------
    path : Path
        The ``.set`` file, or the ``.fdt`` file beside it.

    Returns
    -------
    Recording
        One stream; events as markers labelled with their type. EEGLAB stores no unit; it counts in microvolts.

    Raises
    ------
    RecordingError
        If the file is not a MAT file up to version 7, is cut into epochs, or its data file is missing.
    """
    path = path.with_suffix(".set") if path.suffix.lower() == ".fdt" else path
    notes = Notes()
    eeg = _load(path)
    sfreq, n_channels = _number(eeg.get("srate")), _count(eeg.get("nbchan"))
    n_samples, n_trials = _count(eeg.get("pnts")), _count(eeg.get("trials"))
    if not LOWEST_RATE_HZ <= sfreq <= HIGHEST_RATE_HZ:
        raise unreadable(path, f"srate must be a number > 0, got {eeg.get('srate')!r:.60}")
    if n_trials > 1:
        raise unreadable(path, f"it must be a continuous dataset, got {n_trials} epochs")
    data = _data(path, eeg, n_channels, n_samples)
    names, types = _channels(_records(eeg.get("chanlocs")), data.shape[1], notes)
    events = [(_number(event.get("latency")) - 1.0, event) for event in _records(eeg.get("event"))]
    known = sorted(((row, event) for row, event in events if math.isfinite(row)), key=lambda item: item[0])
    if len(known) < len(events):
        notes.add(f"{len(events) - len(known)} events without a latency are left out")
    clock = ImpliedClock(len(data), sfreq, _jumps(known, notes))
    markers = tuple(Marker(clock.time_of_row(row), _label(event.get("type")), "events") for row, event in known)
    info = StreamInfo(path.stem, most_common_type(types), "", sfreq, names, types, ("uV",) * len(names))
    stream = RecordedStream(info, data, clock.timestamps, clock.sample_numbers)
    return Recording(path, (stream,), (MarkerStream("events", markers),) if markers else (), notes.lines())


def _load(path: Path) -> Mapping[str, Any]:
    """Read the dataset's fields."""
    buffer = read_bytes(path)
    if buffer[:8] == _HDF5 or b"MATLAB 7.3" in buffer[:128]:
        raise unreadable(path, "it is stored as MAT version 7.3; save it in EEGLAB with version 6 or 7")
    if buffer[:6] != b"MATLAB":
        raise unreadable(path, "it does not begin like a MAT file")
    try:
        content = read_mat(buffer)
    except DamagedMat as error:
        raise unreadable(path, f"damaged MAT file: {error}") from error
    eeg = _records(content.get("EEG"))
    return eeg[0] if eeg else content


def _data(path: Path, eeg: Mapping[str, Any], n_channels: int, n_samples: int) -> FloatArray:
    """Return the samples, shape (n_samples, n_channels)."""
    stored = eeg.get("data")
    if isinstance(stored, str):
        own = path.with_suffix(".fdt")
        named = path.with_name(stored.replace("\\", "/").rsplit("/", 1)[-1] or own.name)
        target = named if named.is_file() else own
        buffer = read_bytes(target)
        if n_channels * n_samples == 0 or len(buffer) != 4 * n_channels * n_samples:
            raise unreadable(
                path, f"{target.name} must hold {n_channels} x {n_samples} float32 numbers, got {len(buffer)} bytes"
            )
        with np.errstate(all="ignore"):
            return np.frombuffer(buffer, "<f4").astype(np.float64).reshape(n_samples, n_channels)
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "iuf" or stored.size == 0:
        raise unreadable(path, "it holds no data")
    if stored.shape != (n_channels, n_samples):
        raise unreadable(path, f"data must have shape {(n_channels, n_samples)!r}, got {stored.shape!r}")
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(stored.T, dtype=np.float64)


def _channels(
    locations: list[Mapping[str, Any]], n_channels: int, notes: Notes
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and types of the channels."""
    if len(locations) != n_channels:
        if locations:
            notes.add(f"describes {len(locations)} channels but has {n_channels}: the description is not used")
        return tuple(f"ch{i + 1}" for i in range(n_channels)), ("EEG",) * n_channels
    labels = [_label(location.get("labels")) or f"ch{i + 1}" for i, location in enumerate(locations)]
    names, doubled = unique_names(labels)
    notes.extend(doubled)
    declared = [normal_channel_type(_label(location.get("type"))) for location in locations]
    return names, tuple(kind or guess_channel_type(name) for kind, name in zip(declared, labels, strict=True))


def _jumps(events: list[tuple[float, Mapping[str, Any]]], notes: Notes) -> list[tuple[int, int]]:
    """Turn ``boundary`` events into (row, sample number); only those that record how much was cut move the number."""
    jumps: list[tuple[int, int]] = []
    n_lost = 0
    for position, event in events:
        if _label(event.get("type")).lower() == "boundary" and position > 0:
            row, length = math.ceil(position), _number(event.get("duration"))
            if 0 < length < 1e15:
                n_lost += round(length)
                notes.add(f"boundary at row {row}: {round(length)} samples were cut out")
                jumps.append((row, row + n_lost))
            else:
                notes.add(f"boundary at row {row} of unknown length: numbered as if nothing was lost")
    return jumps


def _records(value: Any) -> list[Mapping[str, Any]]:
    """Return the elements of a structure array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    """Return a scalar as a float; NaN where it is empty or no number."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return float(value.item())
    return math.nan


def _count(value: Any) -> int:
    number = _number(value)
    return int(number) if 0 <= number < 1e15 else 0


def _label(value: Any) -> str:
    """Return a text; a whole number without a point."""
    if isinstance(value, str):
        return value.strip()
    number = _number(value)
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() else repr(number)
