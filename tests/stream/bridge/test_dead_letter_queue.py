"""Dead letters: sent by a producer that is made for the first of them, carried out of the ring of another process."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.producer import SendBalance
from neuroloop.stream.bridge import dead_letter_queue as module
from neuroloop.stream.bridge.dead_letter_queue import DeadLetterCarrier, DeadLetterQueue
from neuroloop.stream.sources.kafka.kafka_state import SourceLink
from neuroloop.stream.wire.dead_letters import DeadLetter
from neuroloop.stream.wire.delivery_reports import Balance
from neuroloop.stream.wire.messages import Message

SETTINGS = KafkaSettings(bootstrap="a:1", overflow="spool", spool_dir="/spool", close_s=60.0, buffer_mb=500.0)


class FakeProducer:
    """Takes messages; they arrive when it is closed."""

    made: list[FakeProducer]

    def __init__(self, settings: KafkaSettings, kinds: tuple[str, ...]) -> None:
        self.settings, self.kinds = settings, kinds
        self.messages: list[Message] = []
        self.n_arrived = 0
        FakeProducer.made.append(self)

    def offer(self, message: Message) -> None:
        self.messages.append(message)

    def books(self) -> SendBalance:
        n = len(self.messages)
        return SendBalance(n, 0, self.n_arrived, n - self.n_arrived, {}, 0)

    def close(self) -> None:
        self.n_arrived = len(self.messages)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProducer.made = []
    monkeypatch.setattr(module, "Producer", FakeProducer)


def letter(number: int = 0) -> DeadLetter:
    return DeadLetter("p.samples", 0, number, b"amp", b"junk", (("h", None),), "frame must be whole")


def test_without_a_letter_nothing_is_connected() -> None:
    box = DeadLetterQueue(SETTINGS)
    box.close()
    assert FakeProducer.made == []
    assert box.books() == Balance()


def test_letters_go_to_their_topic_bounded_and_past_the_spool() -> None:
    box = DeadLetterQueue(SETTINGS)
    box(letter(1))
    box(letter(2))
    (producer,) = FakeProducer.made
    settings = producer.settings
    assert producer.kinds == ("dead",)
    assert (settings.overflow, settings.spool_dir) == ("drop_newest", None)
    assert (settings.buffer_mb, settings.close_s) == (8.0, 2.0)
    assert [message.topic for message in producer.messages] == ["neuroloop.dead"] * 2
    assert box.books() == Balance(2, 0, 2)
    box.close()
    assert box.books() == Balance(2, 2)


def test_a_producer_that_cannot_be_made_costs_the_letters_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise ConfigError("kafka.password_file must be a readable text file, got 'x'")

    monkeypatch.setattr(module, "Producer", refuse)
    box = DeadLetterQueue(SETTINGS)
    for number in range(3):
        box(letter(number))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "kafka: what cannot be read is only counted: kafka.password_file must be a readable text file, got 'x'"
    ]
    assert box.books() == Balance(3, dropped=Counter({"refused": 3}))


def test_what_is_not_settled_when_a_carrier_dies_is_carried_by_the_next() -> None:
    link = SourceLink.make()
    for number in range(4):
        link.bury(letter(number))
    link.numbers("unreadable")[0] = 4
    dead = DeadLetterCarrier(link, SETTINGS)
    dead.drain()  # on their way, nothing has arrived
    assert link.books()["dead_letters"]["unsent"] == 4
    dead._reader.close()
    again = DeadLetterCarrier(link, SETTINGS)
    link.end()
    again.run()
    assert [len(one.messages) for one in FakeProducer.made] == [4, 4]
    assert link.books()["dead_letters"] == {"sent": 4, "dropped": 0, "overwritten": 0, "too_large": 0, "unsent": 0}
    again._reader.close()
    DeadLetterCarrier(link, SETTINGS).close()  # nothing is left for a third
    assert len(FakeProducer.made) == 2


def test_a_carrier_that_takes_over_goes_on_with_the_counts() -> None:
    link = SourceLink.make()
    first = DeadLetterCarrier(link, SETTINGS)
    link.bury(letter(0))
    first.close()
    first._reader.close()
    second = DeadLetterCarrier(link, SETTINGS)
    link.bury(letter(1))
    second.close()
    assert link.numbers("sent")[0] == 2
