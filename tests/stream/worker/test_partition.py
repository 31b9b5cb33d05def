"""The streams of one partition: sessions, ends, what waits too long, which offset may be committed."""

from __future__ import annotations

import pytest

from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.messages import StreamDescription
from neuroloop.stream.worker.errors import StreamRefused
from neuroloop.stream.worker.partition import Partition, Route
from neuroloop.stream.worker.snapshot import Snapshot
from neuroloop.stream.worker.stream_session import StreamSession
from tests.stream.worker.streams import (
    described,
    frames,
    lines,
    make_session,
    signal,
    stream_info,
    uninterrupted,
    windowed_config,
)


def session_of(description: StreamDescription, session: int, snapshot: Snapshot | None) -> StreamSession:
    return make_session(windowed_config(), described(description.info, session), snapshot)


def take(partition: Partition, offset: int, frame: Frame, name: str = "eeg") -> list[Event]:
    outcome = []
    route = partition.route(offset, frame)
    if route is Route.BEGINS:
        begun = partition.new_session(described(stream_info(name), frame.session), frame)
        outcome += partition.begin(offset, begun, 0.0)
    if route is not Route.LEFT_OUT:
        outcome += partition.take(offset, frame, 0.0)
    outcome += partition.pass_by(offset, 0.0)
    return [event for one in outcome for event in one.events]


def keep(partition: Partition, stream: str) -> Snapshot:
    place = partition.places[stream]
    assert place.stream_session is not None
    snapshot = place.stream_session.snapshot(partition.next_offset)
    assert snapshot is not None
    place.stream_session.is_dirty = False
    place.stored = snapshot
    return snapshot


def test_a_higher_session_ends_the_one_before_and_a_lower_one_is_late() -> None:
    info, config = stream_info(), windowed_config()
    first, second = signal(1000, 1), signal(800, 2)
    partition = Partition(0, 0, session_of, hold_frames=100)
    old, new = frames(first, info, rows=50, session=1)[:-1], frames(second, info, rows=50, session=5)
    events = [event for offset, frame in enumerate(old) for event in take(partition, offset, frame)]
    begun = take(partition, 20, new[0])
    late = take(partition, 21, old[3])
    rest = [event for index, frame in enumerate(new[1:]) for event in take(partition, 22 + index, frame)]
    ends = [event for event in begun if event.sample >= 999]
    assert lines(events + ends) == uninterrupted(config, info, first)
    assert lines([event for event in begun if event not in ends] + rest) == uninterrupted(config, info, second)
    assert late == []
    assert partition.take_counts().duplicates == 50


def test_an_ended_stream_takes_nothing_more() -> None:
    partition = Partition(0, 0, session_of, hold_frames=100)
    sent = frames(signal(500, 3), stream_info(), rows=50)
    for offset, frame in enumerate(sent):
        take(partition, offset, frame)
    place = partition.places["id-eeg"]
    assert place.is_ended
    assert place.ended_s == 0.0
    assert take(partition, len(sent), sent[2]) == []
    ended = keep(partition, "id-eeg")
    assert ended.is_ended
    assert ended.arrays == {}
    again = Partition(0, len(sent) + 1, session_of, hold_frames=100)
    again.restore(ended, 0, None, 0.0)
    assert take(again, len(sent) + 1, sent[0]) == []
    assert again.take_counts().duplicates == 50


def test_the_committed_offset_never_passes_what_a_snapshot_needs() -> None:
    partition = Partition(0, 0, session_of, hold_frames=100)
    a = frames(signal(1000, 1), stream_info("a"), rows=50)
    b = frames(signal(1000, 2), stream_info("b"), rows=50)
    take(partition, 0, a[0], "a")
    take(partition, 1, b[0], "b")
    assert partition.safe_offset(2) == 0
    keep(partition, "id-a")
    assert partition.safe_offset(2) == 1
    keep(partition, "id-b")
    assert partition.safe_offset(2) == 2
    take(partition, 2, a[1], "a")
    take(partition, 3, a[3], "a")
    assert partition.safe_offset(4) == 2
    assert keep(partition, "id-a").resume_offset == 3
    assert partition.safe_offset(4) == 3


def test_what_waits_for_too_many_messages_of_the_partition_is_given_up() -> None:
    partition = Partition(0, 0, session_of, hold_frames=4)
    a = frames(signal(1000, 1, gaps=False), stream_info("a"), rows=50)
    b = frames(signal(1000, 2, gaps=False), stream_info("b"), rows=50)
    take(partition, 0, a[0], "a")
    take(partition, 1, a[2], "a")
    found = [take(partition, offset, b[offset - 2], "b") for offset in range(2, 7)]
    lost = [event.values for events in found for event in events if event.values.get("what") == "rows_lost"]
    assert [(one["first_missing"], one["missing"]) for one in lost] == [(50, 50)]
    assert any(event.values.get("what") == "rows_lost" for event in found[3])


def test_a_refused_stream_is_refused_at_once_until_it_is_described_anew() -> None:
    made: list[int] = []

    def refuse(description: StreamDescription, session: int, snapshot: Snapshot | None) -> StreamSession:
        made.append(session)
        raise StreamRefused("no such pipeline")

    partition = Partition(0, 0, refuse, hold_frames=4)
    sent = frames(signal(100, 1), stream_info(), rows=50)
    for _ in range(3):
        with pytest.raises(StreamRefused, match="no such pipeline"):
            partition.new_session(described(stream_info()), sent[0])
    assert made == [1]
    with pytest.raises(StreamRefused, match="no such pipeline"):
        partition.new_session(described(stream_info("other")), sent[0])
    assert len(made) == 2


def test_a_marker_waits_for_its_stream() -> None:
    partition = Partition(0, 0, session_of, hold_frames=4)
    assert not partition.add_marker("id-eeg", 1, Marker(1000.1, "go"), 0)
    take(partition, 0, frames(signal(100, 1), stream_info(), rows=50)[0])
    assert partition.add_marker("id-eeg", 1, Marker(1000.1, "go"), 0)
    assert partition.add_marker("id-eeg", 0, Marker(1000.1, "old"), 0)
    assert not partition.add_marker("id-eeg", 2, Marker(1000.1, "next"), 0)


def test_rows_that_wait_when_a_new_session_begins_are_not_lost_with_the_old_one() -> None:
    info, block = stream_info(), signal(1000, 1, gaps=False)
    partition = Partition(0, 0, session_of, hold_frames=100)
    old = frames(block, info, rows=50)[:14]
    for offset in (*range(10), *range(11, 14)):
        take(partition, offset, old[offset])
    begun = take(partition, 14, frames(signal(800, 2), info, rows=50, session=5)[0])
    lost = [event.values for event in begun if event.values.get("what") == "rows_lost"]
    assert [(one["first_missing"], one["missing"]) for one in lost] == [(500, 50)]
    counts = partition.take_counts()
    assert (counts.samples, counts.lost, counts.reordered) == (650 + 50, 50, 3)


def test_a_first_frame_that_is_not_as_described_does_not_begin_a_session() -> None:
    partition = Partition(0, 0, session_of, hold_frames=4)
    other = frames(signal(100, 1, 3), stream_info(channels=("A", "B", "C")), rows=50)
    for offset, frame in enumerate(other):
        with pytest.raises(StreamRefused, match="frame must be what was described"):
            take(partition, offset, frame)
        partition.pass_by(offset, 0.0)
    assert partition.places == {}
    assert partition.safe_offset(len(other)) == len(other)


def test_one_order_says_what_is_to_be_done_with_a_frame() -> None:
    partition = Partition(0, 0, session_of, hold_frames=100)
    sent = frames(signal(500, 1), stream_info(), rows=50)
    assert partition.route(0, sent[0]) is Route.BEGINS
    take(partition, 0, sent[0])
    assert partition.route(1, sent[1]) is Route.GOES_ON
    assert partition.route(1, sent[-1]) is Route.NEEDS_MARKERS  # the end
    take(partition, 1, sent[2])
    assert partition.route(2, sent[1]) is Route.NEEDS_MARKERS  # one that comes after it waits
    assert partition.route(2, frames(signal(100, 1), stream_info(), rows=50, session=0)[0]) is Route.LEFT_OUT
    assert partition.route(2, frames(signal(100, 1), stream_info(), rows=50, session=2)[0]) is Route.BEGINS
    assert keep(partition, "id-eeg").resume_offset == 1
    assert partition.route(0, sent[0]) is Route.LEFT_OUT  # its snapshot holds it
