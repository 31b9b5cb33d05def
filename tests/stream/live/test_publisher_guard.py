"""The supervisor's end of the publisher process: one that dies is started again, not for ever and not in silence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live import watched_child as module
from neuroloop.stream.live.child_process import RunFailed
from neuroloop.stream.live.live_kafka import KafkaOpener
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.publisher_guard import PublisherGuard, is_publishing
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.sources.kafka.kafka_state import SourceLink
from neuroloop.stream.wire.messages import StreamDescription

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


class FakeChild:
    """A process that dies when it is told to."""

    made: list[FakeChild]

    def __init__(self, target: object, arguments: tuple[Any, ...], name: str) -> None:
        self.process = SimpleNamespace(exitcode=None, kill=self.die)
        self.says: str | None = None
        self.n_ended = 0
        FakeChild.made.append(self)

    @property
    def is_alive(self) -> bool:
        return self.process.exitcode is None

    def die(self, code: int = -9, says: str | None = None) -> None:
        self.process.exitcode, self.says = code, says

    def wait_until_ready(self, is_cancelled: object = None) -> dict[str, Any]:
        if self.says is not None:
            raise RunFailed(self.says)
        return {}

    def release(self) -> None:
        """Nothing is held."""

    def end(self, grace_s: float) -> None:
        self.n_ended += 1
        self.process.exitcode = 0 if self.process.exitcode is None else self.process.exitcode


@dataclass
class Clock:
    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    FakeChild.made = []
    monkeypatch.setattr(module, "Child", FakeChild)
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared.make(INFO, stages=[], classes=(), ring_s=1.0, published=("states",))
    yield made
    made.close()


def config_of(*changes: str) -> Config:
    return load_config("demo", ["kafka.bootstrap=127.0.0.1:9", *changes])


def make_publisher(shared: Shared, *changes: str, opener: Any = None) -> PublisherGuard:
    source = SourcePlan(INFO, "here", True, None, 1.0, opener)
    made = PublisherGuard(config_of(*changes), source, shared, frozenset())
    made.wait_until_ready(lambda: False)
    return made


def watch(one: PublisherGuard, clock: Clock) -> None:
    """Let it see a death, and be due to answer it."""
    one.watch()
    clock.now += 1.0
    one.watch()


def test_a_publisher_that_dies_again_and_again_is_given_up_in_one_line_and_in_the_books(
    clock: Clock, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    one = make_publisher(shared)
    shared.numbers("kafka_up")[0] = 1
    for _ in range(25):
        FakeChild.made[-1].die(1, "kafka.spool_dir must be a folder to write in, got 'x'")
        watch(one, clock)
    assert len(FakeChild.made) == 21
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        "the publisher process must stay alive, got 21 deaths in a row (kafka.spool_dir must be a folder to write in, "
        "got 'x'); nothing more is published"
    ]
    summary = one.summary()
    assert summary["publisher"] == {"deaths": 21, "given_up": "kafka.spool_dir must be a folder to write in, got 'x'"}
    assert "events_left" in summary["rings"]
    assert shared.numbers("kafka_up")[0] == 0


def test_only_quick_deaths_in_a_row_count(clock: Clock, shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    one = make_publisher(shared)
    for _ in range(60):  # a long run: one death an hour
        clock.now += 3600.0
        FakeChild.made[-1].die()
        one.watch()
    assert len(FakeChild.made) == 61
    assert one.summary()["publisher"] == {"deaths": 60, "given_up": None}
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


def test_what_a_publisher_says_of_its_end_is_said(
    clock: Clock, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    one = make_publisher(shared)
    FakeChild.made[-1].die(-9, "never asked: it was ready")
    watch(one, clock)
    FakeChild.made[-1].die(1, "kafka.password_file must be a readable text file")
    watch(one, clock)
    FakeChild.made[-1].die(3)
    watch(one, clock)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.split("died (")[1].split("), starting")[0] for line in said] == [
        "exit code -9", "kafka.password_file must be a readable text file", "exit code 3",
    ]  # fmt: skip


def test_one_that_had_to_be_killed_at_the_end_is_not_started_again(clock: Clock, shared: Shared) -> None:
    one = make_publisher(shared)
    one.end(has_begun=True)
    FakeChild.made[-1].process.exitcode = -9
    one.end(has_begun=True)
    assert (len(FakeChild.made), FakeChild.made[0].n_ended) == (1, 1)
    assert "publisher" not in one.summary()


def test_a_run_that_reads_from_kafka_has_one_for_what_it_cannot_read_even_if_it_publishes_nothing(
    clock: Clock, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    quiet = ("kafka.publish=[]", "source.kind=kafka")
    assert is_publishing(config_of(*quiet))
    assert not is_publishing(config_of("kafka.publish=[]"))
    link = SourceLink.make()
    opener = KafkaOpener(config_of().kafka, StreamDescription("s", INFO), "latest", link)  # type: ignore[arg-type]
    one = make_publisher(shared, *quiet, opener=opener)
    assert "publishing" not in caplog.text
    link.numbers("unreadable")[0] = 5
    link.numbers("sent")[0] = 3
    assert one.summary() == {
        "source": {
            "rows": {},
            "unreadable": {"no frame": 5},
            "dead_letters": {"sent": 3, "dropped": 0, "overwritten": 0, "too_large": 0, "unsent": 2},
        }
    }
