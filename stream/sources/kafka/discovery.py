"""Which streams there are: the descriptions on the compacted topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from neuroloop.config.errors import BrokerError, StreamLost, StreamMismatch, WireError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.brokers import connect, explain
from neuroloop.stream.wire.client_arguments import consumer_arguments
from neuroloop.stream.wire.messages import StreamDescription, description_from_json, utf8
from neuroloop.stream.wire.topics import Topics

_log = logging.getLogger("neuroloop.kafka")
_SLICE_S = 0.2
_TOPIC_POLL_S = 0.05


def open_consumer(settings: KafkaSettings, **changes: Any) -> tuple[Any, Mapping[str, Any]]:
    """Connect a consumer; return it and what it was made with.

    Raises
    ------
    BrokerError
        With the cause in one line.
    """
    arguments = {**consumer_arguments(settings), **changes}
    consumer = connect(
        lambda left_s: KafkaConsumer(**arguments, bootstrap_timeout_ms=left_s * 1e3), arguments, settings.connect_s
    )
    return consumer, arguments


def partitions_of(consumer: Any, topic: str, wait_s: float, arguments: Mapping[str, Any]) -> list[Any]:
    """Return the partitions of a topic, waiting for it to be made.

    Raises
    ------
    BrokerError
        If it is not there in time, or not open to this user.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            found = consumer.partitions_for_topic(topic)
        except KafkaError as error:
            raise BrokerError(explain(error, arguments)) from error
        if found:
            return [TopicPartition(topic, number) for number in sorted(found)]
        if time.monotonic() >= end:
            shown = ",".join(arguments["bootstrap_servers"])
            raise BrokerError(f"topic {topic} must exist on {shown} (kafka.prefix names it), got none")
        time.sleep(_TOPIC_POLL_S)


def ends_of(consumer: Any, partitions: Sequence[Any], wait_s: float = 5.0) -> dict[Any, int]:
    """Return the offsets behind the newest messages of partitions that are assigned; leaves the consumer there.

    Asked for its newest offset, the embedded broker counts the last batch as one message. What comes with a fetch
    is right with every broker.
    """
    ends: dict[Any, int] = dict(consumer.end_offsets(partitions))
    for partition, offset in ends.items():
        consumer.seek(partition, offset)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        consumer.poll(timeout_ms=round(_TOPIC_POLL_S * 1e3))
        newest = {one: consumer.highwater(one) for one in partitions}
        if all(offset is not None for offset in newest.values()):
            ends = {one: max(offset, newest[one]) for one, offset in ends.items()}
            break
    for partition, offset in ends.items():
        consumer.seek(partition, offset)
    return ends


def find_stream(settings: KafkaSettings, stream: str | None, resolve_s: float) -> StreamDescription:
    """Wait for the description of a stream.

    Parameters
    ----------
    settings : KafkaSettings
    stream : str, optional
        Its id; without it the only stream there is.
    resolve_s : float
        How long to wait for it in seconds.

    Raises
    ------
    StreamLost
        If it does not appear in time; the message lists what there is.
    StreamMismatch
        If several streams are there and none was named.
    BrokerError
        If the brokers cannot be reached or refuse, or the topic is missing.
    """
    topic = Topics(settings.prefix).streams
    consumer, arguments = open_consumer(settings, group_id=None)
    end = time.monotonic() + resolve_s
    found: dict[str, StreamDescription] = {}
    try:
        partitions = partitions_of(consumer, topic, resolve_s, arguments)
        consumer.assign(partitions)
        ends = ends_of(consumer, partitions)
        for one, offset in consumer.beginning_offsets(partitions).items():
            consumer.seek(one, offset)
        while True:
            _read_some(consumer, found, min(_SLICE_S, max(0.0, end - time.monotonic())))
            is_read = all(consumer.position(one) >= ends[one] for one in partitions)
            if is_read and stream is not None and stream in found:
                return found[stream]
            if is_read and stream is None and found:
                if len(found) > 1:
                    raise StreamMismatch(f"source.stream_id must name one of {_shown(found)}, got nothing")
                return next(iter(found.values()))
            if time.monotonic() >= end:
                break
    except KafkaError as error:
        raise BrokerError(explain(error, arguments)) from error
    finally:
        consumer.close(autocommit=False)
    there = f"there are {_shown(found)}" if found else "there is none"
    named = "any stream" if stream is None else repr(stream)
    raise StreamLost(f"source.stream_id must be on topic {topic} within {resolve_s:g} s, got no {named}; {there}")


def _read_some(consumer: Any, found: dict[str, StreamDescription], wait_s: float) -> None:
    """Take what the topic holds; a later description of a stream replaces an earlier one, an empty one removes it."""
    for records in consumer.poll(timeout_ms=round(wait_s * 1e3)).values():
        for record in records:
            if record.value is None:
                if record.key is not None:
                    found.pop(record.key.decode("utf-8", "replace"), None)
                continue
            try:
                description = description_from_json(record.value)
                key = utf8(description.stream)
                if record.key is not None and record.key != key:
                    raise WireError(
                        f"stream must be the key of its message ({record.key!r}), got {description.stream!r}"
                    )
            except WireError as error:
                _log.warning("kafka: a description on %s cannot be read: %s", record.topic, error)
                continue
            found[description.stream] = description


def _shown(found: Mapping[str, StreamDescription]) -> str:
    return ", ".join(sorted(found))
