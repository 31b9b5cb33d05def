"""The books of publishers that die: what one leaves comes again, from rings or spool, and is counted once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks.kafka.producer import SendBooks
from stream.bridge.fates import Fates
from stream.contracts.chunks import StreamInfo
from stream.contracts.topics import Topics
from stream.runner.published import PublisherCounts, publisher_books
from stream.runner.shared import Shared

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


class FakeProducer:
    """A producer whose books are set by hand."""

    def __init__(self, found: int = 0) -> None:
        self.problem = ""
        self.waiting_bytes = 0
        self._books = SendBooks(0, found, 0, found, {}, 0)

    def books(self) -> SendBooks:
        return self._books

    def set(self, *, offered: int, arrived: int, dropped: dict[str, int] | None = None) -> None:
        lost, found = dropped or {}, self._books.found
        waiting = offered + found - arrived - sum(lost.values())
        self._books = SendBooks(offered, found, arrived, waiting, lost, 0)


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared.make(INFO, stages=[], classes=(), ring_s=1.0, published=("states", "samples"))
    yield made
    made.close()


def begin(shared: Shared, found: int = 0) -> tuple[FakeProducer, PublisherCounts]:
    producer = FakeProducer(found)
    topic = Topics("p").samples
    return producer, PublisherCounts(shared, producer, Fates(Topics("p"), 1), topic)  # type: ignore[arg-type]


def test_what_a_dead_publisher_held_in_memory_is_offered_again(shared: Shared) -> None:
    producer, counts = begin(shared)
    producer.set(offered=10, arrived=6, dropped={"buffer full": 1})
    counts.update(0)
    producer, counts = begin(shared)
    producer.set(offered=8, arrived=8)
    counts.update(2)
    books = publisher_books(shared)
    assert books["messages"] == {
        "in": 18, "found_in_spool": 0, "sent": 14, "waiting_in_spool": 0, "offered_again": 3,
        "dropped": {"buffer full": 1}, "balanced": True,
    }  # fmt: skip
    assert books["dropped_rows"] == 2


def test_what_a_dead_publisher_held_in_its_spool_is_found_there(shared: Shared) -> None:
    producer, counts = begin(shared, found=4)
    producer.set(offered=10, arrived=6)
    counts.update(0)
    producer, counts = begin(shared, found=8)
    producer.set(offered=5, arrived=10)
    counts.update(0)
    assert publisher_books(shared)["messages"] == {
        "in": 15, "found_in_spool": 4, "sent": 16, "waiting_in_spool": 3, "offered_again": 0, "dropped": {},
        "balanced": True,
    }  # fmt: skip


def test_what_was_counted_last_may_be_behind_the_spool(shared: Shared) -> None:
    producer, counts = begin(shared)
    producer.set(offered=10, arrived=10)
    counts.update(0)
    producer, counts = begin(shared, found=2)  # put there after the last count
    producer.set(offered=0, arrived=2)
    counts.update(0)
    books = publisher_books(shared)["messages"]
    assert (books["found_in_spool"], books["sent"], books["balanced"]) == (2, 12, True)


def test_losses_of_the_rings_are_counted_over_all_publishers(shared: Shared) -> None:
    for _ in range(2):
        _, counts = begin(shared)
        counts.lost_rows(5)
        counts.lost_events(1)
        counts.lost_events(0)
    assert publisher_books(shared)["rings"] == {"samples_lost": 10, "events_lost": 2}


def test_lag_counts_from_the_last_moment_when_all_had_arrived(shared: Shared) -> None:
    producer, counts = begin(shared)
    counts.update(0)
    assert shared.numbers("kafka_behind_ns")[0] == 0
    assert shared.numbers("kafka_up")[0] == 1
    producer.set(offered=3, arrived=1)
    producer.problem = "nobody answers"
    counts.update(0)
    since = int(shared.numbers("kafka_behind_ns")[0])
    assert since > 0
    counts.update(0)
    assert shared.numbers("kafka_behind_ns")[0] == since
    assert shared.numbers("kafka_up")[0] == 0
