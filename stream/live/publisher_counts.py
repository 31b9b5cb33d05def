"""The counts of the publisher process: counted where they outlive it, served as metrics, closed with the run."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.counters import REASONS
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.sinks.metrics.kafka import KafkaFamilies
from neuroloop.stream.contracts.shared_memory import CounterSpec
from neuroloop.stream.live.shared_state import PUBLISHER, Shared
from neuroloop.stream.ring.header import Place
from neuroloop.stream.wire.delivery_reports import DeliveryReports

_log = logging.getLogger("neuroloop.publisher")
DIED = "publisher died"
"""Why a message is lost that waited in the memory of a process that was not started again."""
MARK_SPECS = (CounterSpec("marks", "count", size=5),)
_ISSUED = 4


class MarkNumbers:
    """Numbers the markers of a run, over publishers that die: the same marker has the same number, no two share one.

    Markers are counted from 0 in the order of the ring. Beside the place up to which all is dealt with stands how many
    came before it, twice, so that a process that is killed between the two leaves one pair that is right. Where the
    ring has overwritten events, nobody knows how many markers were among them: the numbers go on above all that were
    given.

    Parameters
    ----------
    numbers : array, shape (5,), int64
        Shared, zero at the beginning: two pairs of a place and a number, and the lowest number that was never given.
    place : Place
        Up to which the ring's events are dealt with.
    """

    def __init__(self, numbers: NDArray[np.int64], place: Place) -> None:
        self._numbers = numbers
        pairs = {int(numbers[at]): int(numbers[at + 1]) for at in (2, 0)}
        self._kept = place.position
        self.next = pairs.get(place.position, int(numbers[_ISSUED]))
        """What the next marker gets."""

    def take(self) -> int:
        """Return the number of the next marker."""
        k, self.next = self.next, self.next + 1
        self._numbers[_ISSUED] = max(int(self._numbers[_ISSUED]), self.next)
        return k

    def skip(self) -> None:
        """Go on above all numbers that were given: events were overwritten."""
        self.next = max(self.next, int(self._numbers[_ISSUED]))

    def keep(self, place: Place, number: int) -> None:
        """Note, right before the ring is told of a place, how many markers came before it."""
        if place.position == self._kept:
            return
        numbers = self._numbers
        other = 2 if numbers[0] == self._kept else 0
        numbers[other + 1] = number
        numbers[other] = place.position
        self._kept = place.position


class PublisherCounts:
    """Puts the counts where they outlive this process, and goes on from those of an earlier one.

    Parameters
    ----------
    shared : Shared
    producer : Producer
        New: nothing was offered yet.
    reports : DeliveryReports
        What the producer tells of its messages.
    samples_topic : str
    """

    def __init__(self, shared: Shared, producer: Producer, reports: DeliveryReports, samples_topic: str) -> None:
        self._numbers = shared.numbers
        self._producer = producer
        self._reports = reports
        self._topic = samples_topic
        before = {name: int(shared.numbers(f"kafka_{name}")[0]) for name in ("offered", "found", "arrived", "again")}
        self._dropped_before = shared.numbers("kafka_dropped").copy()
        self._rows_before = int(shared.numbers("kafka_dropped_rows")[0])
        books = producer.books()
        open_before = before["offered"] + before["found"] - before["arrived"] - before["again"]
        unsettled = open_before - int(self._dropped_before.sum())
        # what an earlier process left comes again from the rings, unless it is in the spool
        before["again"] += max(0, unsettled - books.found)
        before["found"] += max(0, books.found - unsettled)
        for name in ("again", "found"):
            shared.numbers(f"kafka_{name}")[0] = before[name]
        self._before = before
        self._caught_up_ns = time.perf_counter_ns()

    def lost_events(self, n: int) -> None:
        """Count events that were overwritten before they were read."""
        if n:
            self._numbers("kafka_lost_events")[0] += n
            _log.warning("%d events were overwritten before they were published", n)

    def lost_rows(self, n: int) -> None:
        """Count samples that were overwritten before they were read."""
        if n:
            self._numbers("kafka_lost_rows")[0] += n
            _log.warning("%d samples were overwritten before they were published", n)

    def update(self, unsendable_rows: int) -> None:
        """Write the balance of now; rows that have no place on the wire are in no message."""
        books, numbers = self._producer.books(), self._numbers
        numbers("kafka_offered")[0] = self._before["offered"] + books.offered
        numbers("kafka_arrived")[0] = self._before["arrived"] + books.arrived
        numbers("kafka_waiting")[0] = books.waiting
        numbers("kafka_waiting_bytes")[0] = self._producer.waiting_bytes
        dropped = numbers("kafka_dropped")
        dropped[:] = self._dropped_before
        for reason, count in books.dropped.items():
            dropped[REASONS.index(reason) if reason in REASONS else REASONS.index("refused")] += count
        numbers("kafka_dropped_rows")[0] = self._rows_before + self._reports.n_lost(self._topic) + unsendable_rows
        numbers("kafka_up")[0] = not self._producer.problem
        if not books.waiting:
            self._caught_up_ns = time.perf_counter_ns()
        numbers("kafka_behind_ns")[0] = self._caught_up_ns if books.waiting else 0


def kafka_families(shared: Shared, settings: KafkaSettings, pipeline: str, stream: str) -> KafkaFamilies:
    """Return the metrics of the publisher process of a run."""

    def lag_s() -> float:
        since = int(shared.numbers("kafka_behind_ns")[0])
        return (time.perf_counter_ns() - since) * 1e-9 if since else 0.0

    return KafkaFamilies(
        shared.numbers,
        {"pipeline": pipeline, "stream": stream},
        lag_s=lag_s,
        is_spooled=settings.overflow == "spool",
    )


def publisher_summary(shared: Shared, *, is_given_up: bool = False, is_spooled: bool = False) -> dict[str, Any]:
    """Return what became of everything that was to be published, for ``summary.json``.

    Call it when the publisher process is over.

    Parameters
    ----------
    shared : Shared
    is_given_up : bool
        Whether it died and was not started again: what waited in its memory counts as dropped, and what nobody has
        dealt with in the rings is said.
    is_spooled : bool
        Whether what waits is on the disk.
    """

    def count(name: str) -> int:
        return int(shared.numbers(f"kafka_{name}")[0])

    dropped = dict(zip(REASONS, shared.numbers("kafka_dropped").tolist(), strict=True))
    dropped = {reason: n for reason, n in dropped.items() if n}
    left = {}
    if is_given_up:
        left["events_left"] = shared.events.status()[PUBLISHER].n_behind
        if PUBLISHER in shared.samples.status():
            left["samples_left"] = shared.samples.status()[PUBLISHER].n_behind
    taken, gone = count("offered") + count("found"), count("arrived") + count("waiting") + count("again")
    waiting = count("waiting")
    if is_given_up and waiting and not is_spooled:
        dropped[DIED], waiting, gone = waiting, 0, gone - waiting
    return {
        "messages": {
            "in": count("offered"),
            "found_in_spool": count("found"),
            "sent": count("arrived"),
            "waiting_in_spool": waiting,
            "offered_again": count("again"),
            "dropped": dropped,
            "balanced": taken == gone + sum(dropped.values()),
        },
        "dropped_rows": count("dropped_rows"),
        "rings": {"samples_lost": count("lost_rows"), "events_lost": count("lost_events")} | left,
    }
