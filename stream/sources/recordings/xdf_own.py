"""What our own recorder and player say in the header of an XDF stream, and how it is read back.

Both write ``desc/neuroloop``: the exact description as JSON, whether a last column counts the samples, whether one says
which rows are valid, and for the recorder the stream's role in a recorded run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.json_text import parse_json
from neuroloop.stream.contracts.chunks import MONITORING_ID, FloatArray, StreamInfo
from neuroloop.stream.contracts.event_lines import parse_event
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.lsl.stamps import restore
from neuroloop.stream.sources.recordings.faults import Notes
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream
from neuroloop.stream.sources.recordings.run_script import Arrival
from neuroloop.stream.sources.stream_description import field_text, own_info, short_text

_N_ARRIVAL = 3
ROLES = frozenset({"data", "tap", "markers", "arrivals", "events", "stimulation"})


@dataclass(frozen=True)
class OwnHeader:
    """The entries of ``desc/neuroloop``; empty texts where there are none.

    Parameters
    ----------
    role : str
        One of `ROLES`; empty for a stream that our recorder did not write.
    stamps, counter, valid, clock, info : str
    source_id : str
    first_row, first_sample : int
    """

    role: str
    stamps: str
    counter: str
    valid: str
    clock: str
    info: str
    source_id: str
    first_row: int
    first_sample: int

    @classmethod
    def of(cls, header: Element) -> OwnHeader:
        """Read a stream's header."""
        own = header.find("desc/neuroloop")
        role = field_text(own, "role")
        return cls(
            role=role if role in ROLES else "",
            stamps=field_text(own, "stamps"),
            counter=field_text(own, "counter"),
            valid=field_text(own, "valid"),
            clock=field_text(own, "clock"),
            info=field_text(own, "info"),
            source_id=short_text(header, "source_id"),
            first_row=_whole(field_text(own, "first_row")),
            first_sample=_whole(field_text(own, "first_sample")),
        )

    @property
    def is_monitoring(self) -> bool:
        """Whether a pipeline wrote the stream to be looked at: it is no input."""
        return self.source_id.startswith(MONITORING_ID)


def split_columns(stream: RecordedStream, own: OwnHeader) -> RecordedStream:
    """Return a data stream as it was before it was recorded or played: without the columns that we added."""
    n_added = (own.counter == "channel") + (own.valid == "channel")
    n_channels = stream.info.n_channels - n_added
    info = own_info(own.info, n_channels)
    if info is None and n_added and n_channels > 0:
        info = _first_channels(stream.info, n_channels)
    if info is None or n_channels < 1:
        return stream
    data, timestamps = stream.data, stream.timestamps
    if own.stamps == "recording" and not own.role:
        timestamps = timestamps.copy()
        restore(timestamps)
    numbers, valid = None, None
    if own.counter == "channel":
        numbers = _numbers(data[:, -1])
    elif own.counter == "stamps" and info.sfreq > 0:
        numbers = _numbers(np.rint(timestamps * info.sfreq))
    if own.valid == "channel":
        valid = data[:, n_channels] != 0.0
    return replace(
        stream,
        info=info,
        data=np.ascontiguousarray(data[:, :n_channels]) if n_added else data,
        timestamps=timestamps,
        sample_numbers=numbers,
        valid=valid,
        first_sample=own.first_sample,
        first_row=own.first_row if own.role == "data" else None,
    )


def marker_name(own: OwnHeader, otherwise: str) -> str:
    """Return the name that a marker stream's markers carry."""
    try:
        return str(parse_json(own.info)["name"])
    except (ValueError, TypeError, KeyError):
        return otherwise


def arrivals(rows: NDArray[Any], streams: Mapping[int, MarkerStream]) -> Iterator[Arrival]:
    """Yield the markers of a recorded run in the order in which they came.

    Parameters
    ----------
    rows : array of int64, shape (n_markers, 3)
        Sequence number, id of the marker stream, raw rows that had come before.
    streams : mapping
        The marker streams by id, their markers in the file's order.
    """
    left = {number: iter(stream.markers) for number, stream in streams.items()}
    nothing: Iterator[Marker] = iter(())
    if rows.ndim != 2 or rows.shape[1] != _N_ARRIVAL:
        return
    for sequence, number, n_before in rows.tolist():
        marker = next(left.get(number, nothing), None)
        if marker is not None:
            yield Arrival(sequence, n_before, marker)


def parsed_events(texts: Sequence[str], notes: Notes) -> list[dict[str, Any]]:
    """Return the recorded events; one that is none is left out, and the first such said."""
    events, wrong = [], []
    for number, text in enumerate(texts, start=1):
        try:
            events.append(parse_event(text))
        except ValueError as error:
            wrong.append(f"the recorded event {number} is left out: {error}")
    if wrong:
        notes.add(f"{wrong[0]}, and so are {len(wrong) - 1} more" if len(wrong) > 1 else wrong[0])
    return events


def _numbers(values: FloatArray) -> NDArray[np.int64]:
    """Read sample numbers; what is none becomes the smallest integer, as live."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.int64)


def _first_channels(info: StreamInfo, n: int) -> StreamInfo:
    return replace(info, ch_names=info.ch_names[:n], ch_types=info.ch_types[:n], ch_units=info.ch_units[:n])


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 else 0
