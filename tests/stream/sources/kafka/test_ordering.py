"""Frames as they may arrive: each row comes out once, in order, and what is missing is counted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.config.errors import WireError
from neuroloop.stream.sources.kafka.ordering import HOLD, SessionOrder
from neuroloop.stream.wire.frames import Frame


def rows(first: int, n: int, *, session: int = 1, counts: Any = "received", last: bool = False) -> Frame:
    """Make rows that carry their own index."""
    index = np.arange(first, first + n, dtype=np.float64)
    return Frame("s", first, counts, 250.0, index[:, None], index, session, last=last)


def taken(order: SessionOrder) -> list[int]:
    out: list[int] = []
    while (ready := order.take()) is not None:
        out += ready.frame.block(ready.start).timestamps.astype(int).tolist()
    return out


def fed(order: SessionOrder, *frames: Frame, now: float = 0.0) -> list[int]:
    for offset, frame in enumerate(frames):
        order.add(frame, 0, offset, now)
    return taken(order)


@given(
    cuts=st.lists(st.integers(1, 99), unique=True, max_size=10).map(sorted),
    repeats=st.lists(st.integers(0, 10), max_size=10),
    swaps=st.lists(st.integers(0, 9), max_size=5),
)
def test_repeated_and_swapped_frames_give_every_row_once_in_order(
    cuts: list[int], repeats: list[int], swaps: list[int]
) -> None:
    edges = [0, *cuts, 100]
    frames = [rows(a, b - a) for a, b in pairwise(edges)]
    sent = list(frames)
    for at in swaps:
        if 1 <= at < len(sent) - 1:  # the first frame says where the stream begins
            sent[at], sent[at + 1] = sent[at + 1], sent[at]
    for at in repeats:
        if at < len(frames):
            sent.insert(min(sent.index(frames[at]) + 2, len(sent)), frames[at])
    order = SessionOrder()
    assert fed(order, *sent) == list(range(100))
    n_repeated = sum(len(frame) for frame in sent) - 100
    assert order.counts["duplicates"] == n_repeated
    assert order.counts["lost"] == 0


def test_a_frame_that_overlaps_gives_its_new_rows() -> None:
    order = SessionOrder()
    assert fed(order, rows(0, 5), rows(3, 5)) == list(range(8))
    assert order.counts["duplicates"] == 2


def test_a_hole_is_waited_for_and_then_counted_as_lost() -> None:
    order = SessionOrder()
    assert fed(order, rows(0, 5), rows(10, 5)) == [0, 1, 2, 3, 4]
    assert order.n_held == 1
    order.advance(HOLD.seconds / 2)
    assert taken(order) == []
    order.advance(HOLD.seconds)
    assert taken(order) == [10, 11, 12, 13, 14]
    assert order.counts["lost"] == 5


def test_a_hole_is_not_waited_for_where_many_frames_follow() -> None:
    order = SessionOrder()
    got = fed(order, rows(0, 1), *(rows(10 + i, 1) for i in range(HOLD.n_frames + 1)))
    assert got == [0, *range(10, 10 + HOLD.n_frames + 1)]
    assert (order.counts["lost"], order.n_held) == (9, 0)


def test_rows_that_come_after_their_place_was_given_up_are_late_not_repeated() -> None:
    order = SessionOrder()
    fed(order, rows(0, 5), rows(10, 5))
    order.advance(1.0)
    assert taken(order) == [10, 11, 12, 13, 14]
    assert fed(order, rows(5, 5), rows(12, 2)) == []
    assert (order.counts["late"], order.counts["duplicates"]) == (5, 2)


def test_a_jump_of_counted_samples_is_no_loss_of_the_transport() -> None:
    order = SessionOrder()
    fed(order, rows(0, 5, counts="samples"), rows(8, 2, counts="samples"))
    order.advance(1.0)
    assert (order.counts["jumped"], order.counts["lost"]) == (3, 0)


def test_a_producer_that_begins_anew_begins_anew() -> None:
    order = SessionOrder()
    assert fed(order, rows(100, 5, session=1), rows(0, 5, session=2)) == [100, 101, 102, 103, 104, 0, 1, 2, 3, 4]
    assert (order.counts["restarts"], order.session, order.counts["lost"]) == (1, 2, 0)
    assert fed(order, rows(105, 5, session=1)) == []
    assert order.counts["other_session"] == 5


def test_frames_of_earlier_sessions_are_left_out() -> None:
    order = SessionOrder(session=7)
    assert fed(order, rows(0, 5, session=6), rows(0, 2, session=6, last=True), rows(0, 3, session=7)) == [0, 1, 2]
    assert not order.is_over
    assert (order.counts["earlier"], order.counts["other_session"]) == (7, 0)


def test_the_stream_is_over_when_its_last_row_was_taken() -> None:
    order = SessionOrder()
    order.add(rows(0, 5), 0, 0, 0.0)
    order.add(rows(5, 0, last=True), 0, 1, 0.0)
    assert not order.is_over
    assert taken(order) == [0, 1, 2, 3, 4]
    assert order.is_over


def test_the_end_waits_for_rows_before_it() -> None:
    order = SessionOrder()
    assert fed(order, rows(0, 5), rows(8, 2, last=True)) == [0, 1, 2, 3, 4]
    assert not order.is_over
    assert fed(order, rows(5, 3)) == [5, 6, 7, 8, 9]
    assert order.is_over


def test_an_end_behind_lost_rows_counts_them() -> None:
    order = SessionOrder()
    fed(order, rows(0, 5), rows(9, 0, last=True))
    order.advance(1.0)
    assert order.is_over
    assert order.counts["lost"] == 4


def test_rows_before_the_one_asked_for_are_left_out() -> None:
    order = SessionOrder(first_index=7)
    assert fed(order, rows(0, 5), rows(5, 5), rows(10, 2)) == [7, 8, 9, 10, 11]
    assert (order.counts["earlier"], order.counts["lost"]) == (7, 0)


def test_a_frame_that_counts_otherwise_is_refused() -> None:
    order = SessionOrder()
    fed(order, rows(0, 5))
    with pytest.raises(WireError, match=r"counts must stay 'received' within a session, got 'samples'"):
        order.add(rows(5, 5, counts="samples"), 0, 1, 0.0)


def test_what_goes_to_another_reader_is_forgotten_and_may_come_again() -> None:
    order = SessionOrder()
    order.add(rows(0, 5), 3, 40, 0.0)
    order.add(rows(5, 5), 3, 41, 0.0)
    order.add(rows(20, 5), 3, 44, 0.0)
    assert order.oldest_offset(3) == 40
    assert order.take() is not None
    assert order.oldest_offset(3) == 41
    order.forget(3)
    assert order.oldest_offset(3) is None
    assert fed(order, rows(5, 5)) == [5, 6, 7, 8, 9]
    assert order.counts["lost"] == 0
