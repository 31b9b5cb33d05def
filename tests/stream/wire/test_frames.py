"""Sample frames: every bit survives, no byte string does harm."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroloop.config.errors import NeuroloopError, WireError
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo, make_chunk
from neuroloop.stream.wire.frames import (
    DTYPES,
    FINGERPRINT,
    MARKER,
    SCHEMA_FILE,
    Frame,
    decode_frame,
    encode_frame,
    frames_of_block,
    frames_of_chunk,
    last_frame,
    regular_stamps,
)

ANY_BITS = st.integers(0, 2**64 - 1)
"""Any float64, with every NaN there is, quiet or signalling."""


def frame_of(n_samples: int = 3, n_channels: int = 2, **changes: Any) -> Frame:
    data = np.arange(n_samples * n_channels, dtype=np.float64).reshape(n_samples, n_channels)
    frame = Frame("eeg-1", 17, "received", 250.0, data, regular_stamps(100.0, 250.0, n_samples), session=5)
    return replace(frame, **changes)


def record_of(payload: bytes) -> dict[str, Any]:
    """Read a frame as any Avro reader does: with the published schema and nothing of ours."""
    body = io.BytesIO(payload[10:])
    schema = fastavro.parse_schema(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    record = fastavro.schemaless_reader(body, schema, None)
    assert isinstance(record, dict)
    return record


def payload_with(**changes: Any) -> bytes:
    """Write a frame whose fields were changed behind our back."""
    schema = fastavro.parse_schema(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record_of(encode_frame(frame_of())) | changes)
    return MARKER + FINGERPRINT + out.getvalue()


def bits(values: Any) -> bytes:
    return b"none" if values is None else np.ascontiguousarray(values).tobytes()


@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    counts=st.sampled_from(["samples", "received"]),
    sfreq=st.sampled_from([0.0, 250.0, 512.0, 1e-3, 44100.7, 5e-324]),
    first=st.integers(-(2**63), 2**63 - 10),
    session=st.integers(-(2**63), 2**63 - 1),
    last=st.booleans(),
    stream=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    draw=st.data(),
)
def test_a_frame_comes_back_to_the_bit(
    shape: tuple[int, int],
    counts: Any,
    sfreq: float,
    first: int,
    session: int,
    last: bool,
    stream: str,
    draw: st.DataObject,
) -> None:
    n_samples = shape[0]
    data = draw.draw(hnp.arrays(np.uint64, shape, elements=ANY_BITS)).view(np.float64)
    stamps = draw.draw(hnp.arrays(np.uint64, n_samples, elements=ANY_BITS)).view(np.float64)
    valid = draw.draw(st.none() | hnp.arrays(np.bool_, n_samples))
    numbers = draw.draw(st.none() | hnp.arrays(np.int64, n_samples)) if counts == "received" else None
    sent = Frame(stream, first, counts, sfreq, data, stamps, session, numbers, valid, last)
    got = decode_frame(encode_frame(sent))
    assert (got.stream, got.first_sample, got.counts, got.session, got.last) == (stream, first, counts, session, last)
    assert got.sfreq == sfreq
    assert bits(got.data) == bits(data)
    assert got.data.shape == shape
    assert bits(got.timestamps) == bits(stamps)
    assert bits(got.valid) == bits(valid)
    assert bits(got.sample_numbers) == bits(numbers)


@given(name=st.sampled_from(sorted(DTYPES)), draw=st.data())
def test_every_kind_of_number_reaches_the_pipeline_as_the_same_float64(name: str, draw: st.DataObject) -> None:
    data = draw.draw(hnp.arrays(DTYPES[name], (4, 3)))
    got = decode_frame(encode_frame(frame_of(4, 3, data=data)))
    assert got.data.dtype == DTYPES[name]
    block = got.block()
    assert block.data.dtype == np.float64
    assert bits(block.data.astype(DTYPES[name])) == bits(data)


@given(
    first=st.floats(allow_nan=False, width=64),
    sfreq=st.floats(1e-3, 1e6),
    n_samples=st.integers(1, 200),
    nudge=st.integers(0, 1),
)
def test_stamps_are_left_out_only_where_the_formula_gives_every_bit_of_them(
    first: float, sfreq: float, n_samples: int, nudge: int
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        stamps = np.array([first, *(first + i / sfreq for i in range(1, n_samples))])
    stamps.view(np.int64)[-1] ^= nudge
    payload = encode_frame(Frame("s", 0, "received", sfreq, np.zeros((n_samples, 1)), stamps))
    assert (record_of(payload)["timestamps"] is None) == (nudge == 0 or n_samples == 1)
    assert bits(decode_frame(payload).timestamps) == bits(stamps)


def test_the_fingerprint_is_the_crc_of_the_canonical_schema() -> None:
    table = []
    empty = 0xC15D213AA4D7A795
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (empty & -(crc & 1))
        table.append(crc)
    crc = empty
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    for byte in fastavro.schema.to_parsing_canonical_form(schema).encode():
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    assert crc.to_bytes(8, "little") == FINGERPRINT
    assert FINGERPRINT.hex() == "e295dc24e1e2beb2"  # a change here is a new version: readers must know both


def test_a_frame_begins_with_marker_and_fingerprint_and_is_plain_avro() -> None:
    payload = encode_frame(frame_of(valid=np.array([True, False, True])))
    assert payload[:10] == b"\xc3\x01" + FINGERPRINT
    record = record_of(payload)
    assert record["stream"] == "eeg-1"
    assert record["first_sample"] == 17
    assert record["data"] == np.arange(6.0).astype("<f8").tobytes()
    assert record["valid"] == b"\x01\x00\x01"
    assert record["timestamps"] is None


def test_the_empty_last_frame_comes_back() -> None:
    got = decode_frame(
        encode_frame(last_frame(stream="s", first_sample=9, counts="received", sfreq=250.0, n_channels=4, session=2))
    )
    assert (len(got), got.first_sample, got.last, got.data.shape, got.session) == (0, 9, True, (0, 4), 2)


@pytest.mark.parametrize("n_bytes", [*range(10), 11, 40, 60, 80])
def test_a_truncated_frame_is_refused(n_bytes: int) -> None:
    payload = encode_frame(frame_of())
    with pytest.raises(WireError, match=r"frame must (have at least 10 bytes|be whole|follow its schema)"):
        decode_frame(payload[:n_bytes])


@settings(max_examples=300)
@given(payload=st.binary(max_size=200))
def test_no_bytes_do_more_than_raise_a_wire_error(payload: bytes) -> None:
    for one in (payload, MARKER + FINGERPRINT + payload):
        with pytest.raises(WireError):
            decode_frame(one)


@settings(max_examples=300)
@given(at=st.integers(10, 130), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_frame_is_read_or_refused_and_never_breaks_anything(at: int, value: int, cut: int) -> None:
    payload = bytearray(encode_frame(frame_of(4, 2, valid=np.ones(4, np.bool_))))
    payload[at % len(payload)] = value
    try:
        frame = decode_frame(bytes(payload[: len(payload) - cut]))
    except WireError:
        return
    assert frame.data.shape[0] == len(frame.timestamps) == len(frame)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"{}" + bytes(20), r"frame must begin with the marker c3 01, got 7b 7d"),
        (MARKER + bytes(20), r"schema version must be 1 \(e295dc24e1e2beb2\), got the fingerprint 0000000000000000"),
        (encode_frame(frame_of()) + b"xy", r"frame must end with its last field, got 2 more bytes"),
        (payload_with(dtype="complex128"), r"dtype must be one of float64, .*, got 'complex128'"),
        (payload_with(data=bytes(40)), r"data must be 48 bytes long \(6 values of float64\), got 40"),
        (payload_with(n_samples=4), r"data must be 64 bytes long \(8 values of float64\), got 48"),
        (payload_with(n_channels=-2), r"n_channels must be >= 0 and below 2\*\*31, got -2"),
        (payload_with(n_samples=0, data=b""), r"n_samples must be above 0 but in the last frame, got 0"),
        (payload_with(n_channels=0, data=b""), r"n_channels must be above 0 where there are rows, got 0 and 3 rows"),
        (payload_with(sfreq=float("nan")), r"sfreq must be a finite number >= 0, got nan"),
        (payload_with(sfreq=-1.0), r"sfreq must be a finite number >= 0, got -1.0"),
        (payload_with(sfreq=0.0), r"timestamps must be given for an irregular stream, got none"),
        (payload_with(timestamps=bytes(16)), r"timestamps must be 24 bytes long \(3 values of float64\), got 16"),
        (payload_with(valid=b"\x01\x02\x01"), r"valid must be bytes of 0 or 1, got 2"),
        (payload_with(stream=""), r"stream must be a text that is not empty, got ''"),
        (payload_with(first_sample=2**63 - 2), r"first_sample must leave room for the rows in 64 bits, got"),
        (
            payload_with(counts="samples", sample_numbers=bytes(24)),
            r"sample_numbers must be left out where counts is 'samples', got some",
        ),
    ],
)
def test_what_cannot_be_true_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_frame(payload)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((3, 2), np.complex128)}, r"dtype must be one of .*, got 'complex128'"),
        ({"data": np.zeros(3)}, r"data must have shape \(n_samples, n_channels\), got \(3,\)"),
        ({"timestamps": np.zeros(2)}, r"timestamps must be an array of 3 float64, got shape \(2,\) of float64"),
        ({"valid": np.zeros(3)}, r"valid must be an array of 3 bool, got shape \(3,\) of float64"),
        ({"counts": "other"}, r"counts must be one of samples, received, got 'other'"),
        ({"session": 2**63}, r"session must fit into 64 bits, got"),
        ({"sfreq": float("inf")}, r"sfreq must be a finite number >= 0, got inf"),
    ],
)
def test_what_cannot_be_true_is_not_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WireError, match=message):
        encode_frame(frame_of(**changes))


def test_wire_errors_are_errors_a_user_can_cause() -> None:
    assert issubclass(WireError, NeuroloopError)


@given(
    n_samples=st.integers(1, 60),
    max_bytes=st.integers(400, 2000),
    counts=st.sampled_from(["samples", "received"]),
    steps=st.lists(st.sampled_from([1, 1, 1, 2, 7, 0, -3]), min_size=60, max_size=60),
    has_numbers=st.booleans(),
)
def test_a_block_cut_into_frames_comes_back_whole_and_every_frame_fits(
    n_samples: int, max_bytes: int, counts: Any, steps: list[int], has_numbers: bool
) -> None:
    rng = np.random.default_rng(n_samples)
    numbers = np.cumsum(np.array(steps[:n_samples], np.int64)) + 1000 if has_numbers else None
    block = RawBlock(
        rng.standard_normal((n_samples, 3)), rng.standard_normal(n_samples), numbers, rng.random(n_samples) < 0.5
    )
    frames = list(
        frames_of_block(block, stream="s", first_sample=1000, counts=counts, sfreq=250.0, max_bytes=max_bytes)
    )
    payloads = [encode_frame(frame) for frame in frames]
    assert max(map(len, payloads)) <= max_bytes
    blocks = [decode_frame(payload).block() for payload in payloads]
    assert bits(np.concatenate([one.data for one in blocks])) == bits(block.data)
    assert bits(np.concatenate([one.timestamps for one in blocks])) == bits(block.timestamps)
    assert bits(np.concatenate([one.valid for one in blocks if one.valid is not None])) == bits(block.valid)
    own = [one.sample_numbers for one in blocks if one.sample_numbers is not None]
    if has_numbers:
        assert bits(np.concatenate(own)) == bits(numbers)
    elif counts == "samples":
        assert bits(np.concatenate(own)) == bits(np.arange(1000, 1000 + n_samples))
    else:
        assert own == []
        assert frames[0].first_sample == 1000
        assert all(a.next_sample == b.first_sample for a, b in pairwise(frames))


def test_a_chunk_becomes_frames_with_its_own_numbers() -> None:
    info = StreamInfo("eeg", "EEG", "id", 250.0, ("a", "b"), ("eeg",) * 2, ("uV",) * 2)
    valid = np.array([True, True, False])
    chunk = make_chunk(np.arange(6.0).reshape(3, 2), regular_stamps(1.0, 250.0, 3), 40, valid, info)
    (frame,) = frames_of_chunk(chunk, stream="s", session=7)
    assert (frame.first_sample, frame.counts, frame.session, frame.sfreq) == (40, "samples", 7, 250.0)
    assert bits(frame.valid) == bits(valid)
    numbers = frame.block(1).sample_numbers
    assert numbers is not None
    assert numbers.tolist() == [41, 42]


def test_a_narrow_type_must_hold_every_value() -> None:
    block = RawBlock(np.array([[1.0, -3.0]]), np.zeros(1))
    (frame,) = frames_of_block(block, stream="s", first_sample=0, counts="received", sfreq=1.0, dtype="int16")
    assert frame.data.dtype == np.int16
    broken = RawBlock(np.array([[1.5, -3.0]]), np.zeros(1))
    with pytest.raises(WireError, match=r"dtype must hold every value exactly, got 'int16'"):
        list(frames_of_block(broken, stream="s", first_sample=0, counts="received", sfreq=1.0, dtype="int16"))


def test_a_row_that_fits_into_no_frame_is_refused() -> None:
    block = RawBlock(np.zeros((1, 100)), np.zeros(1))
    with pytest.raises(WireError, match=r"max_bytes must be room for one row of 100 channels, got 500"):
        list(frames_of_block(block, stream="s", first_sample=0, counts="received", sfreq=1.0, max_bytes=500))
