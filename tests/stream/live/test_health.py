"""Health and readiness from shared counters, with a hand-moved clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.health import RunHealth
from neuroloop.stream.live.shared_state import Shared

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))
S = 1_000_000_000


class Run:
    """Counters and a clock."""

    def __init__(self) -> None:
        self.shared = Shared.make(INFO, stages=["filter"], classes=[], ring_s=1.0)
        self.now = 100 * S
        self.health = RunHealth(self.shared, n_warmup=250, ready_s=2.0, clock_ns=lambda: self.now)

    def goes(self, *, processed: int) -> None:
        self.shared.numbers("stream_up")[0] = 1
        self.shared.numbers("processed")[0] = processed
        for name in ("heartbeat_ns", "newest_arrival_ns"):
            self.shared.numbers(name)[0] = self.now


@pytest.fixture
def run() -> Iterator[Run]:
    made = Run()
    yield made
    made.shared.close()


def test_before_the_first_turn_it_is_healthy_and_not_ready(run: Run) -> None:
    assert run.health.healthy().is_good
    assert run.health.healthy().facts == {"status": "starting", "heartbeat_age_s": None}
    assert not run.health.ready().is_good


def test_it_is_ready_once_the_warm_up_is_over(run: Run) -> None:
    run.goes(processed=249)
    assert run.health.ready().facts["status"] == "warming up"
    run.goes(processed=250)
    assert run.health.ready().is_good
    assert run.health.ready().facts["newest_sample_age_s"] == 0.0


def test_a_silent_stream_is_healthy_and_not_ready(run: Run) -> None:
    run.goes(processed=1000)
    run.now += 2 * S + 1
    run.shared.numbers("heartbeat_ns")[0] = run.now
    assert run.health.healthy().is_good
    assert not run.health.ready().is_good
    assert run.health.ready().facts["status"] == "no new sample"


def test_a_lost_stream_is_not_ready(run: Run) -> None:
    run.goes(processed=1000)
    run.shared.numbers("stream_up")[0] = 0
    assert run.health.ready().facts["status"] == "the stream is not up"
    assert not run.health.ready().is_good


def test_a_loop_that_does_not_turn_is_neither(run: Run) -> None:
    run.goes(processed=1000)
    run.now += 5 * S
    assert run.health.healthy().is_good
    run.now += 1
    assert not run.health.healthy().is_good
    assert run.health.ready().facts["status"] == "the hot process does not move"
