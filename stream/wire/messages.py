"""The messages of every topic: what is in them, their keys, headers and times.

Headers are those of CloudEvents' binary mode (``ce_id``, ``ce_source``, ``ce_type``, ``ce_specversion``,
``content-type``). The key is the id of the stream, so that one stream stays in one partition and in order. The time of
a record is the time of what it is about (stamp + ``epoch_offset_s``, in whole milliseconds since 1970) where the
producer knows that offset; otherwise there is none and the client puts the time of sending.
``stream/wire/wire.schema.json`` describes the JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from neuroloop.config.errors import WireError
from neuroloop.stream.contracts.chunks import LEAST_SFREQ, MOST_SFREQ, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical, encode
from neuroloop.stream.wire.frames import Frame, encode_frame
from neuroloop.stream.wire.topics import Topics

AVRO = "application/avro"
JSON = "application/json"
SPEC_VERSION = "1.0"
_MAX_MS = 253_402_300_799_999
"""The end of the year 9999: a stamp beyond it is not a time since 1970."""
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
SFREQ_HZ = (LEAST_SFREQ, MOST_SFREQ)
"""Rates that a description may have, beside 0: beyond them no stage can be designed, whatever the pipeline."""
MAX_CHANNELS = 10_000
_MAX_TEXT = 1000
"""Characters of a name, a label or a unit; 512 of the id of a stream, as in the settings."""
_MAX_STREAM_ID = 512
_MAX_SHOWN = 200
_MAX_SAMPLE = 1 << 53
"""What a number of JSON holds exactly in every language."""


class Message(NamedTuple):
    """One message, ready for any client.

    Parameters
    ----------
    topic : str
    key, value : bytes
    headers : tuple of (str, bytes)
    timestamp_ms : int, optional
        Milliseconds since 1970; None where the client is to put its own.
    """

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a reader must know before it takes the first frame of a stream.

    Parameters
    ----------
    stream : str
        Id of the stream: the key of all its messages.
    info : StreamInfo
    session : int
        The producer's newest session, see `Frame`.
    epoch_offset_s : float, optional
        What turns stamps into seconds since 1970; None where nobody knows.
    first_sample : int
        Number of the first sample where there are no sample numbers.
    """

    stream: str
    info: StreamInfo
    session: int = 0
    epoch_offset_s: float | None = None
    first_sample: int = 0

    def as_json(self) -> str:
        """Return one JSON line; `description_from_json` reads it back to an equal description."""
        info = asdict(self.info)
        return encode(
            {
                "stream": self.stream,
                "session": self.session,
                "epoch_offset_s": self.epoch_offset_s,
                "first_sample": self.first_sample,
                **info,
            }
        )


def description_from_json(value: bytes | str) -> StreamDescription:
    """Read the description of a stream.

    Raises
    ------
    WireError
        If it is no JSON, or a field is missing, of another type, not finite, beyond what a stream can be, or
        contradicts another.
    """
    fields = _json_object(value, "description")
    texts = {name: _text(fields, name) for name in ("stream", "name", "type", "source_id")}
    lists = {name: tuple(_texts(fields, name)) for name in ("ch_names", "ch_types", "ch_units")}
    offset = None if fields.get("epoch_offset_s") is None else _number(fields, "epoch_offset_s")
    if not texts["stream"]:
        raise WireError("stream must be a text that is not empty, got ''")
    if len(texts["stream"]) > _MAX_STREAM_ID:
        raise WireError(f"stream must have at most {_MAX_STREAM_ID} characters, got {len(texts['stream'])}")
    first_sample = _integer(fields, "first_sample") if "first_sample" in fields else 0
    if not 0 <= first_sample <= _MAX_SAMPLE:
        raise WireError(f"first_sample must be in [0, 2**53], got {first_sample}")
    try:
        info = StreamInfo(
            texts["name"],
            texts["type"],
            texts["source_id"],
            _number(fields, "sfreq"),
            lists["ch_names"],
            lists["ch_types"],
            lists["ch_units"],
        )
    except ValueError as error:
        raise WireError(str(error)) from error
    low, high = SFREQ_HZ
    if info.sfreq and not low <= info.sfreq <= high:
        raise WireError(f"sfreq must be 0 or in [{low:g}, {high:g}] Hz, got {info.sfreq!r}")
    session = _integer(fields, "session") if "session" in fields else 0
    return StreamDescription(texts["stream"], info, session, offset, first_sample)


def marker_as_json(marker: Marker) -> str:
    """Return one JSON line; a marker carries its exact time on the clock of the data stream."""
    return encode({"time": marker.time, "label": marker.label, "stream": marker.stream})


def marker_from_json(value: bytes | str) -> Marker:
    """Read a marker.

    Raises
    ------
    WireError
        If it is no JSON, or a field is missing, of another type or not finite.
    """
    fields = _json_object(value, "marker")
    return Marker(_number(fields, "time"), _field(fields, "label", str), _field(fields, "stream", str))


def frame_message(topics: Topics, frame: Frame, *, epoch_offset_s: float | None = None) -> Message:
    """Return the message of a frame.

    Raises
    ------
    WireError
        If the frame cannot be written.
    """
    time = float(frame.timestamps[0]) if len(frame) else math.nan
    identity = f"{frame.stream}/samples/{frame.session}/{frame.first_sample}" + ("/last" if frame.last else "")
    return Message(
        topics.samples,
        utf8(frame.stream),
        encode_frame(frame),
        headers(identity, frame.stream, "samples", AVRO),
        epoch_ms(time, epoch_offset_s),
    )


def description_message(topics: Topics, description: StreamDescription) -> Message:
    """Return the message that describes a stream."""
    identity = f"{description.stream}/description/{description.session}"
    return Message(
        topics.streams,
        utf8(description.stream),
        utf8(description.as_json()),
        headers(identity, description.stream, "description", JSON),
    )


def marker_message(
    topics: Topics, marker: Marker, *, stream: str, k: int, session: int = 0, epoch_offset_s: float | None = None
) -> Message:
    """Return the message of a marker.

    Parameters
    ----------
    topics : Topics
    marker : Marker
        On the clock of the data stream.
    stream : str
        Id of the data stream that it belongs to.
    k : int
        How many markers of the session came before it.
    session : int
        As `Frame` has it.
    epoch_offset_s : float, optional
    """
    return Message(
        topics.markers,
        utf8(stream),
        utf8(marker_as_json(marker)),
        headers(f"{stream}/markers/{session}/{k}", stream, "marker", JSON),
        epoch_ms(marker.time, epoch_offset_s),
    )


def event_message(
    topics: Topics,
    event: Event,
    *,
    session: int,
    stream: str | None = None,
    delivery: Mapping[str, Any] | None = None,
    epoch_offset_s: float | None = None,
) -> Message:
    """Return the message of an event: its canonical line, and behind it which stream and session it is of.

    Parameters
    ----------
    topics : Topics
    event : Event
    session : int
        As `Frame` has it: ids of events are unique within a session of a stream.
    stream : str, optional
        Id of the stream, the key; the event's own stream without it.
    delivery : mapping, optional
        How it reached its reader, put behind the other fields; `canonical` takes it off again.
    epoch_offset_s : float, optional
    """
    key = event.stream if stream is None else stream
    beside = {"stream_id": key, "session": session}
    line = f"{canonical(event)[:-1]},{encode(beside if delivery is None else {**beside, **delivery})[1:]}"
    return Message(
        topics.of_event(event.type),
        utf8(key),
        utf8(line),
        headers(event.id, key, event.type, JSON),
        epoch_ms(event.time, epoch_offset_s),
    )


def headers(identity: str, stream: str, kind: str, content_type: str) -> tuple[tuple[str, bytes], ...]:
    """Return the CloudEvents attributes of a message."""
    return (
        ("ce_id", utf8(identity)),
        ("ce_source", b"/neuroloop/" + quote(utf8(stream), safe="").encode()),
        ("ce_type", f"neuroloop.{kind}".encode()),
        ("ce_specversion", SPEC_VERSION.encode()),
        ("content-type", content_type.encode()),
    )


def utf8(text: str) -> bytes:
    """Return UTF-8; half a surrogate pair, which has no place there, becomes a question mark."""
    return text.encode("utf-8", "replace")


def epoch_ms(time: float, epoch_offset_s: float | None) -> int | None:
    """Return a stamp as milliseconds since 1970; None where the offset is not known or the stamp is no time."""
    if epoch_offset_s is None:
        return None
    seconds = time + epoch_offset_s
    if not (math.isfinite(seconds) and 0 <= seconds * 1e3 <= _MAX_MS):
        return None
    return round(seconds * 1e3)


def _json_object(value: bytes | str, what: str) -> dict[str, Any]:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{what} must be JSON, got {error}") from error
    if not isinstance(fields, dict):
        raise WireError(f"{what} must be a JSON object, got {type(fields).__name__}")
    return fields


def _field(fields: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    if name not in fields:
        raise WireError(f"{name} must be given, got nothing")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join({str: "a text", int: "an integer", float: "a number"}[one] for one in kinds)
        raise WireError(f"{name} must be {expected}, got {_short(value)}")
    return value


def _number(fields: Mapping[str, Any], name: str) -> float:
    """Return a number; Python's reader takes ``NaN`` and ``Infinity``, which are no JSON and no time or rate."""
    value = _field(fields, name, (int, float))
    try:
        number = float(value)
    except OverflowError as error:
        raise WireError(f"{name} must fit into 64 bits, got an integer of {value.bit_length()} bits") from error
    if not math.isfinite(number):
        raise WireError(f"{name} must be a finite number, got {number!r}")
    return number


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value: int = _field(fields, name, int)
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise WireError(f"{name} must fit into 64 bits, got an integer of {value.bit_length()} bits")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value: str = _field(fields, name, str)
    if len(value) > _MAX_TEXT:
        raise WireError(f"{name} must have at most {_MAX_TEXT} characters, got {len(value)}")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> list[str]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise WireError(f"{name} must be a list of texts, got {_short(values)}")
    if len(values) > MAX_CHANNELS:
        raise WireError(f"{name} must be of at most {MAX_CHANNELS} channels, got {len(values)}")
    longest = max(map(len, values), default=0)
    if longest > _MAX_TEXT:
        raise WireError(f"{name} must have at most {_MAX_TEXT} characters each, got {longest}")
    return values


def _short(value: object) -> str:
    """Return a value of unknown length for one line."""
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
