"""The books of publishers that die: what one leaves comes again, from rings or spool, and is counted once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.sinks.kafka.producer import SendBalance
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.publisher_counts import MarkNumbers, PublisherCounts, publisher_summary
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.ring.header import Place
from neuroloop.stream.wire.delivery_reports import DeliveryReports
from neuroloop.stream.wire.topics import Topics

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


class FakeProducer:
    """A producer whose books are set by hand."""

    def __init__(self, found: int = 0) -> None:
        self.problem = ""
        self.waiting_bytes = 0
        self._books = SendBalance(0, found, 0, found, {}, 0)

    def books(self) -> SendBalance:
        return self._books

    def set(self, *, offered: int, arrived: int, dropped: dict[str, int] | None = None) -> None:
        lost, found = dropped or {}, self._books.found
        waiting = offered + found - arrived - sum(lost.values())
        self._books = SendBalance(offered, found, arrived, waiting, lost, 0)


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared.make(INFO, stages=[], classes=(), ring_s=1.0, published=("states", "samples"))
    yield made
    made.close()


def begin(shared: Shared, found: int = 0) -> tuple[FakeProducer, PublisherCounts]:
    producer = FakeProducer(found)
    topic = Topics("p").samples
    return producer, PublisherCounts(shared, producer, DeliveryReports(Topics("p"), 1), topic)  # type: ignore[arg-type]


def test_what_a_dead_publisher_held_in_memory_is_offered_again(shared: Shared) -> None:
    producer, counts = begin(shared)
    producer.set(offered=10, arrived=6, dropped={"buffer full": 1})
    counts.update(0)
    producer, counts = begin(shared)
    producer.set(offered=8, arrived=8)
    counts.update(2)
    books = publisher_summary(shared)
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
    assert publisher_summary(shared)["messages"] == {
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
    books = publisher_summary(shared)["messages"]
    assert (books["found_in_spool"], books["sent"], books["balanced"]) == (2, 12, True)


def test_losses_of_the_rings_are_counted_over_all_publishers(shared: Shared) -> None:
    for _ in range(2):
        _, counts = begin(shared)
        counts.lost_rows(5)
        counts.lost_events(1)
        counts.lost_events(0)
    assert publisher_summary(shared)["rings"] == {"samples_lost": 10, "events_lost": 2}


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


def test_what_waited_in_a_publisher_that_is_not_started_again_is_lost(shared: Shared) -> None:
    producer, counts = begin(shared)
    producer.set(offered=10, arrived=6)
    counts.update(0)
    shared.events.writer().append(b"x")
    books = publisher_summary(shared, is_given_up=True)
    assert books["messages"]["dropped"] == {"publisher died": 4}
    assert (books["messages"]["waiting_in_spool"], books["messages"]["balanced"]) == (0, True)
    assert (books["rings"]["events_left"], books["rings"]["samples_left"]) == (1, 0)
    kept = publisher_summary(shared, is_given_up=True, is_spooled=True)["messages"]
    assert (kept["dropped"], kept["waiting_in_spool"], kept["balanced"]) == ({}, 4, True)


class Killed(Exception):
    """The process is killed here."""


class Words:
    """Shared words of a process that is killed before a store."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self.stores_left = 1 << 30

    def __getitem__(self, at: int) -> int:
        return self._numbers[at]

    def __setitem__(self, at: int, value: int) -> None:
        if self.stores_left == 0:
            raise Killed
        self.stores_left -= 1
        self._numbers[at] = value


@given(
    markers=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    lives=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8),
)
def test_a_marker_has_one_number_whatever_process_sends_it_and_whenever_they_die(
    markers: list[int], lives: list[tuple[int, int]]
) -> None:
    """``markers`` by round. Each life does some rounds and is killed in the next: after so many stores of `keep`."""
    numbers = [0] * 5
    committed = 0  # round up to which all is dealt with; its place is ten times that
    given_to: dict[tuple[int, int], int] = {}
    for n_rounds, n_stores in (*lives, (len(markers), 0)):
        words = Words(numbers)
        try:
            one = MarkNumbers(words, Place(10 * committed))  # type: ignore[arg-type]
            last = committed + n_rounds
            for index in range(committed, len(markers)):
                for marker in range(markers[index]):
                    k = one.take()
                    assert given_to.setdefault((index, marker), k) == k
                if index == last:
                    words.stores_left = n_stores
                one.keep(Place(10 * (index + 1)), one.next)
                if index == last:
                    raise Killed  # before the ring is told
                committed = index + 1
        except Killed:
            continue
    assert [given_to[index, marker] for index, n in enumerate(markers) for marker in range(n)] == list(
        range(sum(markers))
    )


def test_numbers_go_on_above_all_that_were_given_where_events_were_overwritten() -> None:
    numbers = np.zeros(5, np.int64)
    first = MarkNumbers(numbers, Place(0))
    assert [first.take() for _ in range(3)] == [0, 1, 2]
    first.keep(Place(50), 2)
    again = MarkNumbers(numbers, Place(50))
    again.skip()
    assert again.take() == 3
    assert MarkNumbers(numbers, Place(77)).next == 4  # no pair is of that place
