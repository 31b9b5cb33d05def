"""Frames of one session in order: how long one waits is the matter of a policy, what comes out is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.row_order import HoldByFrames, HoldForMoment, HoldPolicy, Piece, RowOrder


def rows(first: int, n: int, *, last: bool = False) -> Frame:
    index = np.arange(first, first + n, dtype=np.float64)
    return Frame("s", first, "received", 250.0, index[:, None], index, 1, last=last)


def indices(pieces: list[Piece]) -> list[int]:
    return [index for one in pieces for index in range(one.frame.first_sample + one.start, one.frame.next_sample)]


@pytest.mark.parametrize("hold", [HoldByFrames(20), HoldForMoment(20, 1.0)], ids=["by frames", "for a moment"])
@given(order=st.permutations(range(8)), repeats=st.lists(st.integers(0, 7), max_size=6))
def test_every_row_comes_once_and_in_order_whatever_the_policy(
    hold: HoldPolicy, order: list[int], repeats: list[int]
) -> None:
    subject = RowOrder(hold, 0)
    sent = [*order, *repeats]
    pieces = [one for offset, at in enumerate(sent) for one in subject.add(rows(10 * at, 10), offset)]
    assert indices(pieces) == list(range(80))
    assert subject.counts["duplicates"] == 10 * len(repeats)
    assert subject.counts["lost"] == 0


def test_by_frames_no_clock_gives_anything_up() -> None:
    subject = RowOrder(HoldByFrames(2), 0)
    assert subject.add(rows(10, 5), 7, now=0.0) == []
    assert subject.add(rows(20, 5), 8, now=1e9) == []
    assert subject.release(1e9) == []
    assert (subject.n_held, subject.oldest_held) == (2, 7)
    third = subject.add(rows(30, 5), 9)
    assert [(one.frame.first_sample, one.n_lost) for one in third] == [(10, 10)]


def test_of_frames_that_begin_with_the_same_row_the_one_that_says_most_waits() -> None:
    subject = RowOrder(HoldByFrames(4), 0)
    subject.add(rows(10, 2), 5)
    subject.add(rows(10, 4), 6)
    subject.add(rows(10, 3), 7)
    assert (subject.n_held, subject.oldest_held, subject.counts["duplicates"]) == (1, 5, 5)
    assert indices(subject.give_up()) == [10, 11, 12, 13]


def test_the_end_without_rows_comes_through_once() -> None:
    subject = RowOrder(HoldByFrames(4), 0)
    subject.add(rows(0, 5), 0)
    assert [one.frame.last for one in subject.add(rows(5, 0, last=True), 1)] == [True]
    assert subject.add(rows(2, 0, last=True), 2) == []


def test_nothing_may_be_held_by_no_frame() -> None:
    with pytest.raises(ValueError, match="n_frames must be >= 1, got 0"):
        HoldByFrames(0)
