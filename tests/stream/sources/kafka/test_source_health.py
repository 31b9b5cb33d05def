"""One wrong frame may silence a stream; it must not do so in silence."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from neuroloop.stream.sources.kafka.ordering import SessionOrder
from neuroloop.stream.sources.kafka.source_health import LeftOutWatch
from neuroloop.stream.wire.frames import Frame


class Stream:
    """Frames of 10 rows into an order that is watched."""

    def __init__(self, **options: int) -> None:
        self.order = SessionOrder(**options)
        self.watch = LeftOutWatch("amp", 30)
        self._now = 0.0

    def comes(self, first: int, *, session: int = 1, n: int = 1) -> None:
        for start in range(first, first + 10 * n, 10):
            index = np.arange(10.0)
            frame = Frame("amp", start, "received", 250.0, index[:, None], index, session)
            self.order.add(frame, 0, 0, self._now)
            self._now += 1.0
            self.order.advance(self._now)
            self.watch.look(self.order)
            while self.order.take() is not None:
                pass


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_a_stream_in_order_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Stream().comes(0, n=100)
    assert said(caplog) == []


def test_an_absurd_index_is_said_at_once_and_so_is_the_silence_after_it(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    stream.comes(0, n=3)
    stream.comes(10**12)
    assert said(caplog) == [
        "kafka: rows of stream 'amp' are lost on the way, which is counted (next index 1000000000010, session 1)"
    ]
    stream.comes(30, n=2)
    assert said(caplog) == [
        "kafka: rows of stream 'amp' come after their place was given up, which is counted (next index 1000000000010, "
        "session 1)"
    ]
    stream.comes(50, n=1000)
    assert said(caplog) == [
        "kafka: no row of stream 'amp' gets through, 30 in a row were left out (next index 1000000000010, session 1); "
        "does another producer use this id?"
    ]
    assert stream.order.counts["late"] == 10 * 1002


def test_an_absurd_session_is_said_at_once_and_so_is_the_silence_after_it(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    stream.comes(0, n=3)
    stream.comes(0, session=1 << 60)
    stream.comes(30, n=100)
    lines = said(caplog)
    assert [line.partition(" (")[0] for line in lines] == [
        "kafka: the producer of stream 'amp' began anew",
        "kafka: rows of stream 'amp' are of an earlier session, which is counted",
        "kafka: no row of stream 'amp' gets through, 30 in a row were left out",
    ]
    assert all(f"session {1 << 60})" in line for line in lines)


def test_each_silence_is_said_and_its_end_too_however_often_rows_were_repeated_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream()
    for first in range(0, 1000, 10):
        stream.comes(first)
        stream.comes(first)
    assert [line.partition(",")[0] for line in said(caplog)] == ["kafka: rows of stream 'amp' come again"]
    for _ in range(2):
        stream.comes(0, n=50)
        stream.comes(int(stream.order.next_index or 0))
        assert [line.partition(" (")[0].partition(",")[0] for line in said(caplog)] == [
            "kafka: no row of stream 'amp' gets through",
            "kafka: rows of stream 'amp' get through again",
        ]


def test_rows_before_those_asked_for_are_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream = Stream(session=7)
    stream.comes(0, session=6, n=100)
    stream.comes(0, session=7)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "kafka: rows of stream 'amp' before those asked for are passed over (next index None, session 7)"
    )
