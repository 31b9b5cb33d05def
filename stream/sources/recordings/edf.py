"""EDF, EDF+, BDF and BDF+ recordings: per-signal rates, annotations, discontinuous records.

A reader of its own: record starts of discontinuous files become sample numbers, a header that lies is caught before
anything is allocated, and every signal keeps its rate and unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.data_records import (
    INT24,
    RecordLayout,
    RecordSignal,
    plausible_rate,
    streams_by_rate,
)
from neuroloop.stream.sources.recordings.edf_annotations import annotation_markers, record_starts
from neuroloop.stream.sources.recordings.faults import Notes, read_bytes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, Recording
from neuroloop.stream.sources.recordings.text_numbers import decimal_number, whole_number

_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_MOST_SIGNALS = 4096
_MANGLED = b"\xef\xbf\xbd"


@dataclass(frozen=True)
class _Header:
    layout: RecordLayout
    is_bdf: bool
    is_discontinuous: bool

    def indices(self, annotations: bool) -> list[int]:
        """Return the annotation signals, or the ordinary ones that have samples."""
        return [
            index
            for index, signal in enumerate(self.layout.signals)
            if (signal.label in _ANNOTATIONS) == annotations and signal.n_per_record
        ]


def read_edf(path: Path) -> Recording:
    """Read an EDF(+) or BDF(+) file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Recording
        One stream per distinct rate, time 0 at the first sample; annotations as markers. The ``Status`` channel of a
        BDF file becomes markers (changes of its lower 16 bits to a value other than 0).

    Raises
    ------
    RecordingError
        If the header is not one, or the file has no signals or no complete data record.

    References
    ----------
    .. [1] Kemp et al., Electroenceph. clin. Neurophysiol. 82, 391-393, 1992 (EDF); Kemp and Olivan,
       Clin. Neurophysiol. 114, 1755-1761, 2003 (EDF+).
    """
    buffer, notes = read_bytes(path), Notes()
    header = _read_header(path, buffer, notes)
    layout = header.layout
    annotated = [layout.raw(buffer, index) for index in header.indices(annotations=True)]
    status = [index for index in header.indices(annotations=False) if _is_status(header, index)]
    picked = [index for index in header.indices(annotations=False) if index not in status]
    if not picked:
        raise unreadable(path, "it has annotations but no signals" if annotated else "it has no signals")
    for index in picked:
        if not plausible_rate(layout.signals[index].n_per_record, layout.record_s):
            raise unreadable(path, f"record duration must be > 0 seconds, got {layout.record_s!r}")
    starts_s = record_starts(annotated[0]) if annotated else []
    begin_s = starts_s[0] if starts_s else 0.0
    discontinuous = None
    if header.is_discontinuous:
        if len(starts_s) == layout.n_records:
            discontinuous = starts_s
        else:
            notes.add("marked as discontinuous, but its records carry no start times: numbered as continuous")
    elif any(abs(s - begin_s - i * layout.record_s) > layout.record_s / 2 for i, s in enumerate(starts_s)):
        notes.add("marked as continuous, but the start times of its records disagree: numbered as continuous")
    streams = streams_by_rate(buffer, layout, picked, path, notes, discontinuous)
    markers = [
        MarkerStream("annotations", tuple(annotation_markers(raw, begin_s, "annotations", notes))) for raw in annotated
    ]
    for index in status:
        notes.add(f"channel {layout.signals[index].label!r} is read as markers")
        markers.append(_status_markers(buffer, layout, index))
    return Recording(path, tuple(streams), tuple(stream for stream in markers if stream.markers), notes.lines())


def _read_header(path: Path, buffer: bytes, notes: Notes) -> _Header:
    """Read and check the header; the number of records is what the file really holds."""
    is_bdf = buffer[:8] == b"\xffBIOSEMI"
    if not is_bdf and buffer[:8].strip() != b"0":
        raise unreadable(path, "it does not begin like an EDF or BDF file")
    n_signals = whole_number(buffer[252:256])
    if n_signals is None or not 0 < n_signals <= _MOST_SIGNALS:
        raise unreadable(path, f"number of signals must be in [1, {_MOST_SIGNALS}], got {_text(buffer[252:256])!r}")
    begin = 256 * (n_signals + 1)
    if whole_number(buffer[184:192]) != begin or len(buffer) < begin:
        raise unreadable(path, f"header of {n_signals} signals must have {begin} bytes, got {_text(buffer[184:192])!r}")
    record_s = decimal_number(buffer[244:252])
    if record_s is None or not 0 <= record_s < math.inf:
        raise unreadable(path, f"record duration must be a number >= 0, got {_text(buffer[244:252])!r}")
    signals = tuple(_signal(path, buffer, n_signals, index, is_bdf) for index in range(n_signals))
    n_bytes = sum(signal.n_bytes for signal in signals)
    if not n_bytes:
        raise unreadable(path, "its signals have no samples")
    n_records, rest = divmod(len(buffer) - begin, n_bytes)
    if n_records == 0:
        raise unreadable(path, "it has no complete data record")
    if buffer.count(_MANGLED, begin) > max(10, (len(buffer) - begin) // 1000):
        raise unreadable(path, "its data were converted as if they were text, and are lost")
    announced = whole_number(buffer[236:244])
    if announced != n_records:
        notes.add(f"its header announces {_text(buffer[236:244])} data records, the file has {n_records}")
    if rest:
        notes.add(f"{rest} bytes behind the last complete data record are not read")
    reserved = _text(buffer[192:236])
    return _Header(RecordLayout(signals, begin, n_records, record_s), is_bdf, reserved.startswith(("EDF+D", "BDF+D")))


def _signal(path: Path, buffer: bytes, n_signals: int, index: int, is_bdf: bool) -> RecordSignal:
    """Read what the header says of one signal."""

    def field(offset: int, width: int) -> bytes:
        begin = 256 + offset * n_signals + index * width
        return buffer[begin : begin + width]

    label = _text(field(0, 16))
    limits = [decimal_number(field(offset, 8)) for offset in (104, 112, 120, 128)]
    n_per_record = whole_number(field(216, 8))
    if n_per_record is None or n_per_record < 0:
        raise unreadable(path, f"samples per record must be a whole number, got {_text(field(216, 8))!r} for {label!r}")
    low, high, digital_low, digital_high = (math.nan if limit is None else limit for limit in limits)
    return RecordSignal(
        label, _text(field(96, 8)), low, high, digital_low, digital_high, n_per_record, INT24 if is_bdf else "<i2"
    )


def _text(raw: bytes) -> str:
    """Decode a header field; the standard says ASCII, files also hold UTF-8 and Latin-1."""
    try:
        return raw.decode("utf-8").replace("\x00", " ").strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").replace("\x00", " ").strip()


def _is_status(header: _Header, index: int) -> bool:
    return header.is_bdf and header.layout.signals[index].label.lower() == "status"


def _status_markers(buffer: bytes, layout: RecordLayout, index: int) -> MarkerStream:
    """Turn a BioSemi status channel into markers: changes of the trigger bits to a value other than 0."""
    codes = layout.digital(buffer, index) & 0xFFFF
    before = np.concatenate((np.zeros(1, codes.dtype), codes[:-1]))
    rows = np.flatnonzero((codes != before) & (codes != 0)).tolist()
    sfreq = layout.signals[index].n_per_record / layout.record_s
    label = layout.signals[index].label
    return MarkerStream(label, tuple(Marker(row / sfreq, str(int(codes[row])), label) for row in rows))
