"""A live source that is lost: looked for until it is back, the time is up, or it is another one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.session import SourceSession

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


class Sender:
    """A source whose sender comes back at its n-th look, and a clock that moves with each."""

    info = INFO

    def __init__(self, back_at: int, *, as_another: bool = False) -> None:
        self.back_at = back_at
        self.as_another = as_another
        self.now = 100.0
        self.n_looks = self.n_closed = 0

    def read(self, timeout_s: float) -> RawBlock | None:
        return None

    def reopen(self, timeout_s: float) -> None:
        self.n_looks += 1
        self.now += timeout_s
        if self.as_another:
            raise StreamMismatch("stream must come back as it was, got another")
        if self.n_looks < self.back_at:
            raise StreamLost("not yet")

    def close(self) -> None:
        self.n_closed += 1


class Marks:
    """Markers that are there when they are settled."""

    n_errors = 0

    def __init__(self, senders: tuple[object, ...] = ("box",)) -> None:
        self.senders = senders
        self.settled: list[float] = []
        self.n_reads = self.n_closed = 0

    def read(self) -> list[Marker]:
        self.n_reads += 1
        return [Marker(float(self.n_reads), "x", "box")] if self.settled else []

    def settle(self, timeout_s: float) -> bool:
        self.settled.append(timeout_s)
        return True

    def close(self) -> None:
        self.n_closed += 1


def session_of(sender: Sender, marks: Marks | None = None, **options: Any) -> SourceSession:
    return SourceSession(
        sender, marks, reconnect_s=3.0, clock=lambda: sender.now, **({"is_stopped": lambda: False} | options)
    )


def test_it_is_looked_for_until_it_is_back_and_whoever_waits_is_called_at_each_look() -> None:
    sender, turns = Sender(4), []
    assert session_of(sender).recover(meanwhile=lambda: turns.append(sender.n_looks))
    assert turns == [0, 1, 2, 3]


@pytest.mark.parametrize(("until", "n_looks"), [(None, 6), (101.0, 2), (200.0, 6)])
def test_it_is_given_up_when_the_time_is_up(
    caplog: pytest.LogCaptureFixture, until: float | None, n_looks: int
) -> None:
    sender = Sender(1000)
    assert not session_of(sender).recover(until=until)
    assert sender.n_looks == n_looks
    assert "stream 'cap' did not come back" in caplog.text


def test_a_run_that_is_stopped_meanwhile_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(1000)
    assert not session_of(sender, is_stopped=lambda: sender.n_looks >= 2).recover()
    assert (sender.n_looks, caplog.text) == (2, "")


def test_another_stream_in_its_place_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(1, as_another=True)
    assert not session_of(sender).recover()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "stream must come back as it was, got another")
    ]


def test_markers_are_waited_for_before_they_are_read() -> None:
    marks = Marks()
    session = session_of(Sender(1), marks)
    assert session.read_markers() == []
    assert session.settle() == [Marker(2.0, "x", "box")]
    assert marks.settled == [3.0]


def test_last_markers_are_waited_for_only_where_somebody_may_send_them() -> None:
    sender, marks = Sender(1), Marks()
    marks.settle(0.0)
    taken = []
    for markers in session_of(sender, marks).last_markers():
        taken += markers
        sender.now += 0.11
    assert [marker.time for marker in taken] == [1.0, 2.0, 3.0]
    assert list(session_of(sender, Marks(senders=())).last_markers()) == []
    assert list(session_of(sender).last_markers()) == []


def test_a_source_without_markers_has_none() -> None:
    session = session_of(Sender(1))
    assert (session.settle(), session.read_markers()) == ([], [])


def test_its_end_closes_both() -> None:
    sender, marks = Sender(1), Marks()
    session_of(sender, marks).close()
    assert (sender.n_closed, marks.n_closed) == (1, 1)
