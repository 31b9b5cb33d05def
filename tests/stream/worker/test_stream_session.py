"""One stream on a worker: interrupted anywhere, it says what a replay says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import starmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.loading import parse
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.worker.counts import SessionCounts
from neuroloop.stream.worker.errors import PlanMismatch, SnapshotError, StreamRefused, WorkerError
from neuroloop.stream.worker.snapshot import Snapshot, decode_snapshot, encode_snapshot
from neuroloop.stream.worker.stream_session import SeenMarkers
from tests.stream.worker.streams import (
    WINDOWED,
    demo_config,
    described,
    frames,
    lines,
    make_session,
    markers_of,
    signal,
    stream_info,
    uninterrupted,
    windowed_config,
)


def run_with_restarts(
    config: Config,
    info: StreamInfo,
    block: RawBlock,
    cuts: Sequence[int],
    *,
    rows: int = 25,
    large_bytes: int = 1 << 30,
    markers: Sequence[Marker] = (),
) -> tuple[list[str], SessionCounts]:
    """Process frames; at every cut take a snapshot, go on a little, then lose everything behind it and resume."""
    description = described(info)
    messages = list(enumerate(frames(block, info, rows=rows)))
    stream_session = make_session(config, description, large_bytes=large_bytes)
    for k, marker in enumerate(markers):
        stream_session.add_marker(marker, k)
    events: list[Event] = []
    stored: Snapshot | None = None
    counts = SessionCounts()
    position = 0
    for cut in [*sorted(cuts), len(messages)]:
        while position < cut:
            offset, frame = messages[position]
            events += stream_session.take(offset, frame)
            position += 1
            if position % 5 == 0 and not stream_session.is_ended:
                made = stream_session.snapshot(position)
                if made is not None:
                    stored = decode_snapshot(encode_snapshot(made))
        counts.samples += stream_session.counts.samples
        counts.refilled += stream_session.counts.refilled
        if cut < len(messages):
            stream_session = make_session(config, description, stored, large_bytes=large_bytes)
            position = stored.resume_offset if stored is not None else 0
            if stored is None:
                for k, marker in enumerate(markers):
                    stream_session.add_marker(marker, k)
    assert stream_session.is_ended
    return lines(events), counts


@pytest.mark.parametrize("large_bytes", [1 << 30, 0], ids=["whole state", "windows filled again"])
@pytest.mark.parametrize("config", [demo_config(), windowed_config()], ids=["demo", "windowed"])
def test_an_interrupted_stream_says_what_an_uninterrupted_one_says(config: Config, large_bytes: int) -> None:
    info = stream_info()
    block = signal(5000, 3)
    markers = markers_of(block, 9)
    cuts = [17, 18, 60, 99, 100, 103, 150, 199, 200]
    got, _ = run_with_restarts(config, info, block, cuts, large_bytes=large_bytes, markers=markers)
    assert got == uninterrupted(config, info, block, markers)
    assert len(got) > 10


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 160), max_size=6), seed=st.integers(0, 99), rows=st.sampled_from([7, 25, 61]))
def test_where_it_is_interrupted_and_how_it_is_cut_changes_nothing(cuts: list[int], seed: int, rows: int) -> None:
    info = stream_info()
    block = signal(1500, seed)
    config = windowed_config()
    n_frames = -(-1500 // rows)
    got, _ = run_with_restarts(config, info, block, [c for c in cuts if c < n_frames], rows=rows, large_bytes=0)
    assert got == uninterrupted(config, info, block)


def test_windows_filled_again_cost_rows_and_no_event() -> None:
    info = stream_info()
    block = signal(5000, 5, gaps=False)
    _, counts = run_with_restarts(windowed_config(), info, block, [150], large_bytes=0)
    assert counts.refilled >= 2 * 250
    assert counts.samples >= 5000


def moved(config: Config, n_frames: int = 80, large_bytes: int = 1 << 30) -> Snapshot:
    """Return a snapshot in the midst of a stream."""
    info = stream_info()
    stream_session = make_session(config, described(info), large_bytes=large_bytes)
    made = None
    for offset, frame in enumerate(frames(signal(4000, 1), info, rows=25)[:n_frames]):
        stream_session.take(offset, frame)
        if offset % 5 == 4:
            made = stream_session.snapshot(offset + 1) or made
    assert made is not None
    return made


def test_a_snapshot_survives_its_bytes() -> None:
    made = moved(demo_config())
    read = decode_snapshot(encode_snapshot(made))
    assert read == made
    assert read.arrays.keys() == made.arrays.keys()
    for key, array in made.arrays.items():
        assert read.arrays[key].dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(read.arrays[key], array)


@pytest.mark.parametrize("cut", [0, 4, 8, 30, 500, -1])
def test_a_snapshot_cut_short_is_refused(cut: int) -> None:
    payload = encode_snapshot(moved(demo_config()))
    with pytest.raises(SnapshotError, match="snapshot must be"):
        decode_snapshot(payload[:cut])


def test_a_snapshot_of_another_version_is_refused() -> None:
    payload = encode_snapshot(moved(demo_config()))
    other = payload.replace(b'\\"schema_version\\": 2', b'\\"schema_version\\": 7')
    assert other != payload
    with pytest.raises(SnapshotError, match="snapshot version must be 2, got 7"):
        decode_snapshot(other)


def test_another_plan_is_refused() -> None:
    made = moved(demo_config())
    with pytest.raises(PlanMismatch, match="plan of stream 'id-eeg' must be that of its snapshot"):
        make_session(windowed_config(), described(stream_info()), made)


def test_windows_that_do_not_come_out_equal_are_refused() -> None:
    config = windowed_config()
    made = moved(config, 120, large_bytes=0)
    assert made.row < made.live_row
    stream_session = make_session(
        config, described(stream_info()), replace(made, upstream_checksum=made.upstream_checksum ^ 1), large_bytes=0
    )
    again = list(enumerate(frames(signal(4000, 1), stream_info(), rows=25)))[made.resume_offset :]
    with pytest.raises(WorkerError, match="state of stream 'eeg' must be what it was at its snapshot"):
        list(starmap(stream_session.take, again))


def test_a_session_that_ends_while_windows_are_filled_again_says_nothing_more() -> None:
    config, info = windowed_config(), stream_info()
    made = moved(config, 120, large_bytes=0)
    stream_session = make_session(config, described(info), made, large_bytes=0)
    missing = made.live_row // 25 - 2
    for offset, frame in list(enumerate(frames(signal(4000, 1), info, rows=25)))[made.resume_offset : missing + 6]:
        if offset != missing:
            assert stream_session.take(offset, frame) == []
    assert stream_session.is_refilling
    assert stream_session.is_waiting
    assert stream_session.close() == []
    assert stream_session.is_ended


def test_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(StreamRefused, match="state of 'eeg' must fit into 5000 bytes"):
        make_session(demo_config(), described(stream_info()), snapshot_bytes=5000)


def test_a_stream_that_the_pipeline_cannot_process_is_refused() -> None:
    with pytest.raises(StreamRefused, match="stream must be what bundle 'demo' was made for"):
        make_session(demo_config(), described(stream_info(channels=("A", "B"))))
    counter = parse({**WINDOWED, "source": {"kind": "simulator", "timing": "counter"}})
    stream_session = make_session(counter, described(stream_info()))
    with pytest.raises(StreamRefused, match=r"source\.timing must not be 'counter'"):
        stream_session.take(0, frames(signal(100, 1), stream_info(), rows=25)[0])


def test_frames_of_another_layout_are_refused() -> None:
    stream_session = make_session(windowed_config(), described(stream_info()))
    other = stream_info(channels=("A", "B"))
    with pytest.raises(StreamRefused, match="frame must be what was described"):
        stream_session.take(0, frames(signal(100, 1, 2), other, rows=25)[0])


def test_repeated_and_late_frames_change_nothing() -> None:
    info, block, config = stream_info(), signal(3000, 8), windowed_config()
    sent = frames(block, info, rows=20)
    order = list(range(len(sent)))
    for i in range(3, len(order) - 9, 11):
        order[i], order[i + 5] = order[i + 5], order[i]
    stream_session = make_session(config, described(info))
    events: list[Event] = []
    offset = 0
    for i in order:
        for _ in range(1 + i % 3):
            events += stream_session.take(offset, sent[i])
            offset += 1
    assert lines(events) == uninterrupted(config, info, block)
    counts = stream_session.take_counts()
    assert counts.duplicates > 1000
    assert counts.reordered > 10
    assert counts.lost == 0


def test_lost_rows_are_stated_once_and_the_rest_goes_on() -> None:
    info, block, config = stream_info(), signal(3000, 8, gaps=False), windowed_config()
    sent = frames(block, info, rows=20)
    stream_session = make_session(config, described(info), reorder_frames=4)
    events: list[Event] = []
    for offset, frame in enumerate(sent):
        if not 600 <= frame.first_sample < 640:
            events += stream_session.take(offset, frame)
    lost = [event for event in events if event.values.get("what") == "rows_lost"]
    assert [(event.values["missing"], event.values["first_missing"]) for event in lost] == [(40, 600)]
    assert [event.values["missing"] for event in events if event.type == "gap"] == [40]
    assert stream_session.take_counts().lost == 40
    assert stream_session.is_ended


def test_a_marker_is_taken_once() -> None:
    seen = SeenMarkers()
    assert [seen.take(k) for k in (0, 2, 2, 1, 0, 5)] == [True, True, False, True, False, True]
    again = SeenMarkers(seen.as_tuple())
    assert again.as_tuple() == (3, 5)
    assert [again.take(k) for k in (1, 3, 5, 4)] == [False, True, False, True]
