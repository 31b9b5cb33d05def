"""A sender's clock is measured again and again, anew when the sender comes back, and costs nothing when it fails."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from neuroloop.config.errors import StreamLost
from neuroloop.stream.sources.clock_watch import ClockWatch

PATIENCE_S = 60.0


class Clock:
    """Answers with its number."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.closed = threading.Event()

    def measure(self) -> float | None:
        return self.number

    def close(self) -> None:
        self.closed.set()


def test_the_first_answer_can_be_waited_for() -> None:
    with closing(ClockWatch(lambda: Clock(2.5))) as watch:
        assert watch.offset_s is None
        assert watch.start(PATIENCE_S) == 2.5


def test_a_sender_that_came_back_is_measured_by_a_clock_of_its_own() -> None:
    made: list[Clock] = []
    second = threading.Event()

    def open_clock() -> Clock:
        made.append(Clock(float(len(made))))
        if len(made) == 2:
            second.set()
        return made[-1]

    with closing(ClockWatch(open_clock)) as watch:
        watch.start(PATIENCE_S)
        watch.renew()
        assert second.wait(PATIENCE_S)
        assert made[0].closed.is_set()
    assert made[1].closed.wait(PATIENCE_S)


def test_a_sender_that_is_not_there_yet_is_asked_again() -> None:
    asked: list[int] = []

    def open_clock() -> Clock:
        asked.append(1)
        if len(asked) < 3:
            raise StreamLost("not yet")
        return Clock(1.0)

    with closing(ClockWatch(open_clock)) as watch:
        assert watch.start(PATIENCE_S) == 1.0


def test_stamps_without_a_clock_need_no_thread_for_long() -> None:
    watch = ClockWatch(lambda: None)
    assert watch.start(PATIENCE_S) is None  # returns when the thread has ended
    watch.close()


def test_a_clock_that_fails_is_said_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def open_clock() -> Clock:
        raise RuntimeError("no network")

    watch = ClockWatch(open_clock)
    assert watch.start(PATIENCE_S) is None
    assert "the sender's clock is not measured any more" in caplog.text
