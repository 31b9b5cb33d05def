"""Dead letters: what is passed on, and how often that is said."""

from __future__ import annotations

from typing import cast

import pytest

from neuroloop.sinks.kafka.dead_letter_sender import DeadLetterSender
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.wire.dead_letters import DeadLetter
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topics import Topics


class Offered(list[Message]):
    """Keeps what a producer is offered."""

    offer = list.append


def test_a_header_without_a_value_is_passed_on_as_an_empty_one(caplog: pytest.LogCaptureFixture) -> None:
    offered = Offered()
    letters = DeadLetterSender(cast(Producer, offered), Topics("p"), 10_000)
    headers = (("a", None), ("b", b"x"))  # brokers and foreign clients know headers without a value
    for offset in (5, 6):
        letters(DeadLetter("p.samples", 1, offset, b"k", b"junk", headers, "frame must be whole"))
    assert [one.headers[:2] for one in offered] == [(("a", b""), ("b", b"x"))] * 2
    assert [one.topic for one in offered] == ["p.dead"] * 2
    assert letters.n_dead_letters == {"p.samples": 2}
    assert len(caplog.messages) == 1
