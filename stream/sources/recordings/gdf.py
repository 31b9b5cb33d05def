"""GDF recordings (versions 1 and 2): per-signal rates, the event table, units from their codes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.data_records import (
    INT24,
    UINT24,
    RecordLayout,
    RecordSignal,
    plausible_rate,
    streams_by_rate,
)
from neuroloop.stream.sources.recordings.faults import Notes, read_bytes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, Recording
from neuroloop.stream.sources.recordings.text_numbers import decimal_number

_CODES = {
    1: "<i1",
    2: "<u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<i8",
    8: "<u8",
    16: "<f4",
    17: "<f8",
    279: INT24,
    535: UINT24,
}
_UNITS = {512: "", 544: "%", 2496: "Hz", 3872: "mmHg", 4256: "V", 4288: "Ohm", 6048: "degC"}
_PREFIXES = {0: "", 3: "k", 4: "M", 18: "m", 19: "u", 20: "n", 21: "p"}
_MOST_SIGNALS = 4096


@dataclass(frozen=True)
class _Fixed:
    """What the first 256 bytes say."""

    version: float
    n_signals: int
    begin: int
    n_records: int
    record_s: float


def read_gdf(path: Path) -> Recording:
    """Read a GDF file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Recording
        One stream per distinct rate, time 0 at the first sample; events as markers labelled with their decimal code
        (``769``).

    Raises
    ------
    RecordingError
        If the header is not one, a data type is not known, or the file has no complete data record.

    References
    ----------
    .. [1] Schlogl, GDF - A general dataformat for biosignals, arXiv:cs/0608052.
    """
    buffer, notes = read_bytes(path), Notes()
    fixed = _fixed_header(path, buffer)
    read_signal = _signal_1 if fixed.version < 1.9 else _signal_2
    signals = tuple(read_signal(path, buffer, fixed.n_signals, index, notes) for index in range(fixed.n_signals))
    n_bytes = sum(signal.n_bytes for signal in signals)
    n_there = (len(buffer) - fixed.begin) // n_bytes if n_bytes else 0
    n_records = n_there if fixed.n_records < 0 else min(fixed.n_records, n_there)
    if n_records == 0:
        raise unreadable(path, "it has no complete data record")
    if n_records != fixed.n_records:
        notes.add(f"its header announces {fixed.n_records} data records, the file has {n_records}")
    layout = RecordLayout(signals, fixed.begin, n_records, fixed.record_s)
    picked = [index for index, signal in enumerate(signals) if signal.n_per_record]
    if any(not plausible_rate(signals[index].n_per_record, fixed.record_s) for index in picked):
        raise unreadable(path, f"record duration must be > 0 seconds, got {fixed.record_s!r}")
    streams = streams_by_rate(buffer, layout, picked, path, notes)
    markers = _events(buffer, fixed.begin + n_records * n_bytes, fixed.version, streams[0].info.sfreq, notes)
    return Recording(path, tuple(streams), (MarkerStream("events", markers),) if markers else (), notes.lines())


def _fixed_header(path: Path, buffer: bytes) -> _Fixed:
    """Read and check the fixed header."""
    version = decimal_number(buffer[4:8]) if buffer[:4] == b"GDF " and len(buffer) >= 256 else None
    if version is None:
        raise unreadable(path, "it does not begin like a GDF file")
    if version < 1.9:
        (begin,) = struct.unpack_from("<q", buffer, 184)
        (n_signals,) = struct.unpack_from("<I", buffer, 252)
    else:
        begin = struct.unpack_from("<H", buffer, 184)[0] * 256
        (n_signals,) = struct.unpack_from("<H", buffer, 252)
    n_records, numerator, denominator = struct.unpack_from("<qII", buffer, 236)
    if not 0 < n_signals <= _MOST_SIGNALS:
        raise unreadable(path, f"number of signals must be in [1, {_MOST_SIGNALS}], got {n_signals!r}")
    if not 256 * (n_signals + 1) <= begin <= len(buffer):
        raise unreadable(path, f"header of {n_signals} signals must have {256 * (n_signals + 1)} bytes, got {begin!r}")
    record_s = numerator / denominator if denominator else math.nan
    return _Fixed(version, n_signals, begin, n_records, record_s)


def _signal_1(path: Path, buffer: bytes, n_signals: int, index: int, notes: Notes) -> RecordSignal:
    """Read what a header of version 1 says of one signal."""

    def at(offset: int, width: int) -> int:
        return 256 + offset * n_signals + index * width

    low, high = (struct.unpack_from("<d", buffer, at(offset, 8))[0] for offset in (104, 112))
    digital_low, digital_high = (float(struct.unpack_from("<q", buffer, at(offset, 8))[0]) for offset in (120, 128))
    n_per_record, code = (struct.unpack_from("<I", buffer, at(offset, 4))[0] for offset in (216, 220))
    unit = _text(buffer[at(96, 8) : at(96, 8) + 8])
    label = _text(buffer[at(0, 16) : at(0, 16) + 16])
    return RecordSignal(label, unit, low, high, digital_low, digital_high, n_per_record, _type(path, code))


def _signal_2(path: Path, buffer: bytes, n_signals: int, index: int, notes: Notes) -> RecordSignal:
    """Read what a header of version 2 says of one signal."""

    def at(offset: int, width: int) -> int:
        return 256 + offset * n_signals + index * width

    low, high, digital_low, digital_high = (
        struct.unpack_from("<d", buffer, at(offset, 8))[0] for offset in (104, 112, 120, 128)
    )
    n_per_record, code = (struct.unpack_from("<I", buffer, at(offset, 4))[0] for offset in (216, 220))
    (unit_code,) = struct.unpack_from("<H", buffer, at(102, 2))
    label = _text(buffer[at(0, 16) : at(0, 16) + 16])
    unit = _UNITS.get(unit_code & ~31)
    prefix = _PREFIXES.get(unit_code & 31)
    if unit_code == 0:
        symbol = ""
    elif unit is None or prefix is None:
        notes.add(f"channel {label!r} has the unknown unit code {unit_code}")
        symbol = ""
    else:
        symbol = prefix + unit
    return RecordSignal(label, symbol, low, high, digital_low, digital_high, n_per_record, _type(path, code))


def _type(path: Path, code: int) -> str:
    if code not in _CODES:
        raise unreadable(path, f"data type must be one of {sorted(_CODES)}, got {code!r}")
    return _CODES[code]


def _text(raw: bytes) -> str:
    return raw.split(b"\x00")[0].decode("latin-1").strip()


def _events(buffer: bytes, begin: int, version: float, sfreq: float, notes: Notes) -> tuple[Marker, ...]:
    """Read the event table behind the data records; one that is cut off is noted and read as far as it goes."""
    if len(buffer) < begin + 8:
        return ()
    if version < 1.94:
        rate = float(int.from_bytes(buffer[begin + 1 : begin + 4], "little"))
        (n_events,) = struct.unpack_from("<I", buffer, begin + 4)
    else:
        n_events = int.from_bytes(buffer[begin + 1 : begin + 4], "little")
        (rate,) = struct.unpack_from("<f", buffer, begin + 4)
    if not 0 < rate < math.inf:
        rate = sfreq
    positions_end = begin + 8 + 4 * n_events
    if positions_end + 2 * n_events > len(buffer):
        notes.add(f"its event table announces {n_events} events but is cut off: no events are read")
        return ()
    positions = np.frombuffer(buffer, "<u4", n_events, begin + 8).tolist()
    types = np.frombuffer(buffer, "<u2", n_events, positions_end).tolist()
    markers = [
        Marker((position - 1) / rate, str(code), "events") for position, code in zip(positions, types, strict=True)
    ]
    return tuple(sorted(markers, key=lambda marker: marker.time))
