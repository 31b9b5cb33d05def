"""Messages on the JSON topics: exact, described by the published schemas, with the headers that were promised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from neuroloop.config.errors import WireError
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.wire.frames import last_frame
from neuroloop.stream.wire.messages import (
    StreamDescription,
    description_from_json,
    description_message,
    epoch_ms,
    event_message,
    frame_message,
    marker_from_json,
    marker_message,
)
from neuroloop.stream.wire.topics import TOPIC_KINDS, Topics, kind_of_event

FOLDER = Path(__file__).resolve().parents[3] / "stream"
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
TOPICS = Topics("lab.one")
INFO = StreamInfo("eeg", "EEG", "amp-1", 250.0, ("C3", "C4"), ("eeg", "eeg"), ("uV", ""))
EVENT = Event("state", "eeg", 500, 3, 2.0, 0.25, {"state": "open", "previous": None, "confidence": 0.75})


def validator_of(name: str) -> Any:
    """Return what checks one kind of message by the published files."""
    documents = {
        file: json.loads((FOLDER / room / file).read_text(encoding="utf-8"))
        for room, file in (("wire", "wire.schema.json"), ("contracts", "events.schema.json"))
    }
    registry: Any = Registry().with_resources(
        (file, Resource.from_contents(document)) for file, document in documents.items()
    )
    return jsonschema.Draft202012Validator({"$ref": f"wire.schema.json#/$defs/{name}"}, registry=registry)


@given(
    texts=st.tuples(TEXT, TEXT, TEXT),
    sfreq=st.just(0.0) | st.floats(1e-3, 1e6),
    channels=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4),
    session=st.integers(-(2**63), 2**63 - 1),
    offset=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_description_comes_back_equal_and_follows_the_schema(
    texts: tuple[str, str, str],
    sfreq: float,
    channels: list[tuple[str, str, str]],
    session: int,
    offset: float | None,
) -> None:
    names, types, units = zip(*channels, strict=True) if channels else ((), (), ())
    info = StreamInfo(*texts, sfreq, tuple(names), tuple(types), tuple(units))
    description = StreamDescription("id", info, session, offset, 12)
    line = description.as_json()
    validator_of("description").validate(json.loads(line))
    assert description_from_json(line.encode()) == description


def test_a_description_of_another_language_needs_no_more_than_the_stream_itself() -> None:
    fields = {"stream": "x", "name": "n", "type": "EEG", "source_id": "", "sfreq": 250}
    lists: dict[str, Any] = {"ch_names": ["a"], "ch_types": ["eeg"], "ch_units": ["uV"]}
    validator_of("description").validate(fields | lists)
    got = description_from_json(json.dumps(fields | lists))
    assert (got.session, got.epoch_offset_s, got.info.sfreq) == (0, None, 250.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sfreq": None}, r"sfreq must be a number|sfreq must be an integer or a number|sfreq must be .*, got None"),
        ({"sfreq": -1.0}, r"sfreq must be a finite number >= 0, got -1.0"),
        ({"sfreq": 10**400}, r"sfreq must fit into 64 bits"),
        ({"ch_units": ["uV"]}, r"ch_units must have one entry per channel \(2\), got 1"),
        ({"ch_names": "C3"}, r"ch_names must be a list of texts, got 'C3'"),
        ({"stream": ""}, r"stream must be a text that is not empty, got ''"),
        ({"session": True}, r"session must be an integer, got True"),
        ({"session": 2**63}, r"session must fit into 64 bits, got an integer of 64 bits"),
        ({"first_sample": -(10**30)}, r"first_sample must fit into 64 bits"),
        ({"epoch_offset_s": float("nan")}, r"epoch_offset_s must be a finite number, got nan"),
        ({"epoch_offset_s": float("-inf")}, r"epoch_offset_s must be a finite number, got -inf"),
        ({"sfreq": float("inf")}, r"sfreq must be a finite number, got inf"),
        ({"sfreq": 1e9}, r"sfreq must be 0 or in \[1e-07, 1e\+06\] Hz, got 1000000000.0"),
        ({"sfreq": 1e-300}, r"sfreq must be 0 or in \[1e-07, 1e\+06\] Hz, got 1e-300"),
        ({"first_sample": -1}, r"first_sample must be in \[0, 2\*\*53\], got -1"),
        ({"first_sample": 2**53 + 1}, r"first_sample must be in \[0, 2\*\*53\], got 9007199254740993"),
        ({"stream": "x" * 513}, r"stream must have at most 512 characters, got 513"),
        ({"name": "x" * 1001}, r"name must have at most 1000 characters, got 1001"),
        ({"ch_names": ["x" * 1001, "b"]}, r"ch_names must have at most 1000 characters each, got 1001"),
        ({"ch_names": ["x"] * 10_001}, r"ch_names must be of at most 10000 channels, got 10001"),
        ({"ch_names": [["x" * 5000]]}, r"ch_names must be a list of texts, got \[\['x{197}\.\.\.$"),
    ],
)
def test_a_wrong_description_is_refused(change: dict[str, Any], message: str) -> None:
    fields = json.loads(StreamDescription("id", INFO).as_json())
    with pytest.raises(WireError, match=message):
        description_from_json(json.dumps(fields | change))


@pytest.mark.parametrize("time", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_marker_without_a_place_in_time_is_refused(time: str) -> None:
    with pytest.raises(WireError, match=r"time must be a finite number, got (nan|-?inf)"):
        marker_from_json(f'{{"time":{time},"label":"a","stream":"m"}}')


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{", b"[" * 100_000, b"7"])
def test_what_is_no_json_object_is_refused(value: bytes) -> None:
    with pytest.raises(WireError, match=r"description must be (JSON|a JSON object), got"):
        description_from_json(value)
    with pytest.raises(WireError, match=r"marker must be (JSON|a JSON object), got"):
        marker_from_json(value)


@given(time=st.floats(allow_nan=False, allow_infinity=False), label=TEXT, stream=TEXT)
def test_a_marker_comes_back_equal_and_follows_the_schema(time: float, label: str, stream: str) -> None:
    marker = Marker(time, label, stream)
    message = marker_message(TOPICS, marker, stream="amp-1", k=4, session=9)
    validator_of("marker").validate(json.loads(message.value))
    assert marker_from_json(message.value) == marker
    assert (message.topic, message.key) == ("lab.one.markers", b"amp-1")
    assert dict(message.headers)["ce_id"] == b"amp-1/markers/9/4"


def test_an_event_is_its_canonical_line_and_which_stream_and_session_it_is_of() -> None:
    message = event_message(TOPICS, EVENT, session=7, stream="amp-1")
    assert message.value.decode() == canonical(EVENT)[:-1] + ',"stream_id":"amp-1","session":7}'
    assert canonical(json.loads(message.value)) == canonical(EVENT)
    validator_of("event").validate(json.loads(message.value))
    assert (message.topic, message.key, message.timestamp_ms) == ("lab.one.states", b"amp-1", None)
    assert dict(message.headers) == {
        "ce_id": b"eeg/state/500/3",
        "ce_source": b"/neuroloop/amp-1",
        "ce_type": b"neuroloop.state",
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
    }


def test_delivery_may_follow_and_is_no_part_of_the_canonical_line() -> None:
    delivery = {"age_s": 0.5, "latency_s": 0.001, "host": None, "wall_time": None}
    message = event_message(TOPICS, EVENT, session=0, delivery=delivery)
    line = json.loads(message.value)
    validator_of("event").validate(line)
    assert line["age_s"] == 0.5
    assert canonical(line) == canonical(EVENT)
    assert message.key == b"eeg"


def test_an_event_that_breaks_its_schema_is_noticed() -> None:
    line = json.loads(canonical(EVENT))
    with pytest.raises(jsonschema.ValidationError, match="not valid under any of the given schemas"):
        validator_of("event").validate({key: value for key, value in line.items() if key != "confidence"})


@pytest.mark.parametrize(
    ("time", "offset", "expected"),
    [
        (1.5, None, None),
        (1.5, 1_700_000_000.0, 1_700_000_001_500),
        (0.0004, 0.0, 0),
        (-5.0, 0.0, None),
        (float("nan"), 1_700_000_000.0, None),
        (float("inf"), 0.0, None),
        (1e18, 0.0, None),
    ],
)
def test_the_time_of_a_record_is_the_event_time_where_that_is_known(
    time: float, offset: float | None, expected: int | None
) -> None:
    assert epoch_ms(time, offset) == expected


def test_descriptions_and_frames_carry_key_headers_and_identity() -> None:
    described = description_message(TOPICS, StreamDescription("ämp", INFO, 7))
    assert (described.topic, described.key) == ("lab.one.streams", "ämp".encode())
    assert dict(described.headers)["ce_source"] == b"/neuroloop/%C3%A4mp"
    end = last_frame(stream="s", first_sample=9, counts="received", sfreq=1.0, n_channels=1, session=3)
    message = frame_message(TOPICS, end, epoch_offset_s=0.0)
    headers = dict(message.headers)
    assert (headers["ce_id"], headers["content-type"]) == (b"s/samples/3/9/last", b"application/avro")
    assert (message.topic, message.timestamp_ms) == ("lab.one.samples", None)


def test_half_a_surrogate_pair_stops_no_event() -> None:
    event = Event("marker", "eeg", 5, 0, 0.1, 0.0, {"label": "a\ud800", "marker_stream": "m", "marker_time": 0.1})
    message = event_message(TOPICS, event, session=0)
    assert json.loads(message.value)["label"] == "a?"


def test_every_type_of_event_has_a_topic() -> None:
    types = json.loads((FOLDER / "contracts" / "events.schema.json").read_text(encoding="utf-8"))
    for name in types["$defs"]["event"]["properties"]["type"]["enum"]:
        assert kind_of_event(name) in TOPIC_KINDS
    assert Topics("a").of_event("refusal") == "a.commands"
    assert next(iter(Topics("a"))) == "a.samples"
    with pytest.raises(ValueError, match=r"event type must be one of .*, got 'other'"):
        kind_of_event("other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prefix must be at most 200 letters, .*, got 'a b'"):
        Topics("a b")
