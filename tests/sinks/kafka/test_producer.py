"""The sender's thread, with a client that takes everything: what it survives when it connects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.errors import KafkaConfigurationError

from neuroloop.config.errors import BrokerError, ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka import producer as module
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.wire.messages import Message

PATIENCE_S = 30.0


class Taking:
    """Client and answer in one: whatever is sent has arrived."""

    def send(self, *_: object, **__: object) -> Taking:
        return self

    def add_callback(self, tell: Callable[..., None], *arguments: Any) -> None:
        tell(*arguments, None)

    def add_errback(self, *_: object) -> None:
        """Nothing fails."""

    def close(self, *, timeout: float) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokerError("kafka.bootstrap must be a broker that answers"), "kafka.bootstrap must be a broker that answers"),
        (ConfigError("kafka.password_file must be readable"), "kafka.password_file must be readable"),
        (KafkaConfigurationError("no such codec"), "a:1, got: no such codec"),
        (UnicodeError("label too long"), "label too long"),
        (FileNotFoundError(2, "No such file or directory", "ca.pem"), "No such file or directory: 'ca.pem'"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
def test_what_goes_wrong_while_connecting_is_said_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, words: str
) -> None:
    errors: Iterator[Exception] = iter([error, error])

    def ensure(*_: object) -> list[str]:
        for one in errors:
            raise one
        return []

    monkeypatch.setattr(module, "ensure_topics", ensure)
    monkeypatch.setattr(module, "connect", lambda *_: Taking())
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    producer = Producer(KafkaSettings(bootstrap="a:1"), ["states"])
    producer.offer(Message("neuroloop.states", b"key", b"value", ()))
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    assert (producer.books().arrived, producer.problem) == (1, "")
    said, over = caplog.messages
    assert words in said
    assert said.endswith("(messages wait and are counted)")
    assert over == "kafka: the brokers answer again, 0 messages wait"


def test_what_nobody_foresaw_ends_the_sender_in_the_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ensure(*_: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "ensure_topics", ensure)
    producer = Producer(KafkaSettings(bootstrap="a:1"), ["states"])
    producer.offer(Message("neuroloop.states", b"key", b"value", ()))
    assert not producer.flush(PATIENCE_S)
    producer.close()
    assert producer.problem == "the sender failed"
    assert "ZeroDivisionError" in caplog.text
    assert producer.books().dropped == {"closed": 1}
