"""What the process that reads from Kafka leaves for others: nothing of it waits, and nothing is lost uncounted."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from neuroloop.stream.sources.kafka.kafka_state import REASONS, SourceLink
from neuroloop.stream.sources.kafka.ordering import COUNTS
from neuroloop.stream.wire.dead_letters import DeadLetter, unpack_dead_letter


@pytest.fixture
def link() -> SourceLink:
    return SourceLink.make()


def dead_letter_of(value: bytes, **changes: Any) -> DeadLetter:
    return DeadLetter(
        "p.samples", 3, 77, b"amp", value, (("ce_id", None), ("a", b"b")), "frame must be whole"
    )._replace(**changes)


def test_letters_beyond_the_ring_overwrite_the_oldest_and_are_counted(link: SourceLink) -> None:
    for number in range(10):
        link.bury(dead_letter_of(bytes([number]) * (1 << 20)))
    reader = link.reader()
    taken = []
    while records := reader.read(10).records:
        taken += [unpack_dead_letter(record).value[0] for record in records]
    assert taken == [7, 8, 9]
    assert reader.n_lost == 7
    assert not reader.is_ended
    link.end()
    link.end()
    assert reader.is_ended


def test_what_is_longer_than_the_ring_is_counted(link: SourceLink) -> None:
    link.bury(dead_letter_of(b"", headers=(("h", bytes(5 << 20)),)))
    link.numbers("unreadable")[0] = 1
    assert link.books()["dead_letters"] == {"sent": 0, "dropped": 0, "overwritten": 0, "too_large": 1, "unsent": 0}


def test_counts_are_left_for_others_and_an_absurd_one_stops_nothing(link: SourceLink) -> None:
    source: Any = SimpleNamespace(
        lag=12, counts=Counter({"lost": 1 << 70, "late": 3}), unreadable=Counter({"other layout": 2})
    )
    link.tell(source)
    link.bury_marker(dead_letter_of(b"no marker"))
    link.tell(source)
    assert link.numbers("lag")[0] == 12
    assert link.numbers("rows")[COUNTS.index("late")] == 3
    assert link.numbers("unreadable")[REASONS.index("no marker")] == 1
    assert link.books()["rows"] == {"late": 3, "lost": 2**63 - 1}
    assert link.books()["unreadable"] == {"other layout": 2, "no marker": 1}
