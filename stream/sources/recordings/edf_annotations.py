"""Time-stamped annotation lists (TAL) of EDF+ and BDF+ files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.faults import Notes
from neuroloop.stream.sources.recordings.text_numbers import decimal_number

_ONSET_END, _TEXT_END = b"\x15", b"\x14"


def annotation_markers(raw: NDArray[np.uint8], begin_s: float, stream: str, notes: Notes) -> list[Marker]:
    """Return the texts of an annotation signal as markers; the empty ones that keep time are left out.

    Parameters
    ----------
    raw : array, shape (n_records, n_bytes), uint8
    begin_s : float
        Start of the first record in seconds, where the data clock is 0.
    stream : str
        Name of the marker stream.
    notes : Notes
    """
    markers: list[Marker] = []
    for record in raw:
        for onset, texts in _lists(record.tobytes()):
            if onset is None:
                notes.add("annotations that do not begin with a time are left out")
                continue
            markers.extend(Marker(onset - begin_s, _decode(text), stream) for text in texts if text)
    return sorted(markers, key=lambda marker: marker.time)


def record_starts(raw: NDArray[np.uint8]) -> list[float]:
    """Return the start of each record in seconds; empty where a record does not say it."""
    starts: list[float] = []
    for record in raw:
        onset, texts = next(_lists(record.tobytes()), (None, []))
        if onset is None or (texts and texts[0]):
            return []
        starts.append(onset)
    return starts


def _lists(record: bytes) -> Iterator[tuple[float | None, list[bytes]]]:
    """Yield onset and texts of each list in a record; None for an onset that cannot be read."""
    for item in record.split(b"\x00"):
        if item:
            head, *texts = item.split(_TEXT_END)
            onset = decimal_number(head.split(_ONSET_END)[0]) if head[:1] in (b"+", b"-") else None
            yield (onset if onset is not None and abs(onset) < 1e12 else None), texts


def _decode(text: bytes) -> str:
    try:
        return text.decode("utf-8").strip()
    except UnicodeDecodeError:
        return text.decode("latin-1").strip()
