"""Frames of rows as they came: none lost, none made up, however they were cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.stream.bridge.framer import Framer
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.wire.frames import Frame, decode_frame, encode_frame

INFO = StreamInfo("cap", "EEG", "id", 250.0, ("C3", "C4"), ("EEG", "EEG"), ("uV", "uV"))


def framer(value_format: str = "double64", *, frame_s: float = 0.1, info: StreamInfo = INFO) -> Framer:
    return Framer(info, stream="s", session=7, frame_s=frame_s, max_bytes=900_000, value_format=value_format)


def rows(n: int, *, seed: int = 3, numbered: bool = False) -> RawBlock:
    data = np.random.default_rng(seed).standard_normal((n, 2)).astype(np.float32).astype(np.float64)
    stamps = 5.0 + np.arange(n) / 250.0
    return RawBlock(data, stamps, np.arange(100, 100 + n) if numbered else None)


def over_the_wire(frames: list[Frame]) -> RawBlock:
    """Return the rows of frames that were written and read again; their indices must join."""
    read = [decode_frame(encode_frame(frame)) for frame in frames]
    assert [frame.first_sample for frame in read] == np.cumsum([0, *map(len, read)])[:-1].tolist()
    assert all(frame.counts == "received" and frame.session == 7 for frame in read)
    blocks = [frame.block() for frame in read]
    numbers = [block.sample_numbers for block in blocks if block.sample_numbers is not None]
    return RawBlock(
        np.concatenate([block.data for block in blocks]),
        np.concatenate([block.timestamps for block in blocks]),
        np.concatenate(numbers) if numbers else None,
    )


@given(
    cuts=st.lists(st.integers(1, 300), max_size=8).map(sorted),
    takes=st.sets(st.integers(0, 8)),
    numbered=st.booleans(),
)
def test_rows_survive_to_the_bit_however_they_come_and_go(cuts: list[int], takes: set[int], numbered: bool) -> None:
    block, one = rows(300, numbered=numbered), framer("float32")
    frames: list[Frame] = []
    for index, (begin, end) in enumerate(zip([0, *cuts], [*cuts, 300], strict=True)):
        if begin < end:
            one.add(block.rows(begin, end), now=0.0)
        if index in takes:
            frames += one.take()
    frames += one.take()
    again = over_the_wire(frames)
    np.testing.assert_array_equal(again.data, block.data)
    np.testing.assert_array_equal(again.timestamps, block.timestamps)
    assert (again.sample_numbers is None) == (block.sample_numbers is None)
    if numbered:
        np.testing.assert_array_equal(again.sample_numbers, block.sample_numbers)
    assert one.next_row == 300


def test_rows_are_copied_because_a_source_uses_its_buffers_again() -> None:
    block, one = rows(10), framer()
    expected = block.data.copy()
    one.add(block, now=0.0)
    block.data[:] = 0.0
    (frame,) = one.take()
    np.testing.assert_array_equal(frame.data, expected)


def test_a_frame_is_due_when_it_is_full_or_its_first_row_has_waited() -> None:
    one = framer(frame_s=0.1)  # 25 rows
    assert one.due_in_s(1.0) is None
    one.add(rows(24), now=1.0)
    assert one.due_in_s(1.0) == pytest.approx(0.1)
    assert one.due_in_s(1.5) == 0.0
    one.add(rows(1), now=1.01)
    assert one.due_in_s(1.01) == 0.0
    assert len(list(one.take())) == 1
    assert one.due_in_s(1.01) is None


def test_an_irregular_stream_is_framed_by_time_alone() -> None:
    info = StreamInfo("x", "Misc", "", 0.0, ("a", "b"), ("", ""), ("", ""))
    one = framer(info=info)
    one.add(rows(5000), now=2.0)
    assert one.due_in_s(2.05) == pytest.approx(0.05)


def test_numbers_travel_in_the_senders_own_type_and_in_full_where_they_do_not_fit() -> None:
    one = framer("float32")
    one.add(rows(10), now=0.0)
    (frame,) = one.take()
    assert frame.data.dtype == np.float32
    one.add(RawBlock(np.full((2, 2), 0.1), np.array([1.0, 2.0])), now=0.0)
    (frame,) = one.take()
    assert frame.data.dtype == np.float64
    assert framer("int64")._dtype == "float64"


def test_a_long_wait_becomes_several_frames_of_a_size_that_brokers_take() -> None:
    one = Framer(INFO, stream="s", session=7, frame_s=0.1, max_bytes=2000)
    block = rows(1000)
    one.add(block, now=0.0)
    frames = list(one.take())
    assert len(frames) > 10
    assert max(len(encode_frame(frame)) for frame in frames) <= 2000
    np.testing.assert_array_equal(over_the_wire(frames).data, block.data)


def test_the_last_frame_has_no_rows_and_the_index_that_would_come_next() -> None:
    one = framer()
    one.add(rows(30), now=0.0)
    list(one.take())
    last = decode_frame(encode_frame(one.last()))
    assert (last.last, len(last), last.first_sample, last.session) == (True, 0, 30, 7)
    assert list(one.take()) == []
