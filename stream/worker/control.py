"""What a group has agreed on: which pipeline its workers run, and which messages an operator had them pass by.

The topic ``<group>.control`` has one partition and is compacted. Its records are JSON: ``configuration`` holds the hash
of the pipeline, ``skip/TOPIC/PARTITION/OFFSET`` who had a message passed by, and why. A worker reads it when it joins
and whenever it takes a partition over, before the first message of it.
"""

from __future__ import annotations

import getpass
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from neuroloop.config.errors import ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.client_arguments import aiokafka_arguments
from neuroloop.stream.wire.dead_letters import dead_letter_message, dead_letter_of
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.errors import WorkerError
from neuroloop.stream.worker.readers import GroupOffsets, TopicReader, patiently

_log = logging.getLogger("neuroloop.worker")
_CONFIGURATION = "configuration"
_SKIP = "skip/"
_PATIENCE_S = 30.0


def control_topic(group: str) -> str:
    """Return the name of the topic that holds what a group has agreed on."""
    return f"{group}.control"


@dataclass(frozen=True)
class Place:
    """Where a message stands.

    Parameters
    ----------
    topic : str
    partition, offset : int
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


def place_from(text: str) -> Place:
    """Read ``TOPIC:PARTITION:OFFSET``.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    topic, partition, offset = (["", "", *text.rsplit(":", 2)])[-3:]
    if not (topic and _is_number(partition) and _is_number(offset)):
        raise ConfigError(f"skip must be TOPIC:PARTITION:OFFSET, got {text!r}")
    return Place(topic, int(partition), int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


class Control:
    """Read what a group has agreed on.

    Parameters
    ----------
    reader : TopicReader
        Of `control_topic`.

    Attributes
    ----------
    records : dict
        The newest record of each key.
    has_skips : bool
        Whether any message is to be passed by.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self.records: dict[str, dict[str, Any]] = {}
        self.has_skips = False
        self._next = 0

    async def catch_up(self) -> None:
        """Read what was said since the last time."""
        await self.read_to(await self._reader.end(0))

    async def read_to(self, end: int) -> None:
        """Read what stands before an offset."""
        if self._next >= end:
            return
        for record in await self._reader.read(0, max(self._next, await self._reader.begin(0)), end):
            key = (record.key or b"").decode("utf-8", "replace")
            self.records.pop(key, None)
            with suppress(ValueError, RecursionError):
                value = json.loads(record.value or b"null")
                if isinstance(value, dict):
                    self.records[key] = value
        self.has_skips = any(key.startswith(_SKIP) for key in self.records)
        self._next = end

    def skipped(self, topic: str, partition: int, offset: int) -> dict[str, Any] | None:
        """Return who had a message passed by, and why; None where nobody has."""
        return self.records.get(f"{_SKIP}{topic}/{partition}/{offset}") if self.has_skips else None


def who() -> str:
    """Return ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _said() -> dict[str, Any]:
    return {"by": who(), "at": datetime.now(UTC).isoformat(timespec="seconds")}


@asynccontextmanager
async def _writing(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield what sends."""
    producer = AIOKafkaProducer(
        **aiokafka_arguments(settings), acks="all", max_request_size=settings.max_message_bytes + 16 * 1024
    )
    try:
        await patiently(producer.start, "where to write", _PATIENCE_S)
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def _reading(settings: KafkaSettings, topic: str) -> AsyncIterator[TopicReader]:
    """Yield what reads a topic."""
    reader = TopicReader(settings, topic, patience_s=_PATIENCE_S)
    try:
        yield reader
    finally:
        await reader.stop()


async def agree(settings: KafkaSettings, group: str, sha256: str) -> None:
    """Join a group with a pipeline, if it is that of the members that are there.

    Parameters
    ----------
    settings : KafkaSettings
    group : str
    sha256 : str
        Of the pipeline, as `neuroloop.stream.worker.pipeline_hash.pipeline_hash` returns it.

    Raises
    ------
    WorkerError
        If the group runs another one.
    """
    async with _writing(settings) as producer, _reading(settings, control_topic(group)) as reader:
        control = Control(reader)
        await control.catch_up()
        known = control.records.get(_CONFIGURATION)
        if known is not None and known.get("sha256") == sha256:
            return
        if known is not None and await _has_members(settings, group):
            raise _other(group, sha256, known)
        record = json.dumps({"sha256": sha256, **_said()}).encode()
        written = await producer.send_and_wait(control_topic(group), record, _CONFIGURATION.encode())
        await control.read_to(written.offset)
        first = control.records.get(_CONFIGURATION)
        if first is not None and first != known and first.get("sha256") != sha256:  # somebody was faster
            await producer.send_and_wait(control_topic(group), json.dumps(first).encode(), _CONFIGURATION.encode())
            raise _other(group, sha256, first)


def _other(group: str, sha256: str, known: dict[str, Any]) -> WorkerError:
    rule = f"that of the group {group} ({str(known.get('sha256'))[:16]}, since {known.get('at')}, {known.get('by')})"
    cure = "end all its workers first, or give this one another worker.group"
    return WorkerError(f"pipeline must be {rule}, got {sha256[:16]}: {cure}")


async def _has_members(settings: KafkaSettings, group: str) -> bool:
    """Whether somebody is in the group; a broker that cannot say leaves it to the snapshots' own hashes."""
    admin = AIOKafkaAdminClient(**aiokafka_arguments(settings))
    try:
        await patiently(admin.start, "who is in the group", _PATIENCE_S)
        answers = await admin.describe_consumer_groups([group])
    except KafkaError as error:
        _log.warning("the members of group %s are not known: %s", group, error)
        return False
    finally:
        await admin.close()
    return any(bool(one[5]) for answer in answers for one in answer.groups)


async def skip(settings: KafkaSettings, group: str, place: Place, reason: str) -> str:
    """Have one message passed by: put it on the dead letters and tell the group; return a line that says so.

    Raises
    ------
    ConfigError
        If there is no such message, or it is not before the group.
    """
    topics = Topics(settings.prefix)
    if place.topic != topics.samples:
        raise ConfigError(f"skip must name a message of {topics.samples}, got {place.topic!r}")
    offsets = GroupOffsets(settings, group, patience_s=_PATIENCE_S)
    try:
        await offsets.start()
        async with _reading(settings, place.topic) as samples:
            message = await _message_at(place, samples, offsets)
        by = who()
        letter = dead_letter_of(message, f"skipped by {by}: {reason}", topic=place.topic)
        dead = dead_letter_message(topics, letter, settings.max_message_bytes)
        async with _writing(settings) as producer:
            await producer.send_and_wait(dead.topic, dead.value, dead.key, headers=list(dead.headers))
            key = f"{_SKIP}{place.topic}/{place.partition}/{place.offset}"
            record = json.dumps({"reason": reason, **_said(), "by": by}).encode()
            await producer.send_and_wait(control_topic(group), record, key.encode())
    finally:
        await offsets.stop()
    return (
        f"{place} of {(message.key or b'')!r} is on {topics.dead}; whoever takes partition {place.partition} of "
        f"group {group} over from now on passes it by"
    )


async def _message_at(place: Place, samples: TopicReader, offsets: GroupOffsets) -> Any:
    """Return the message that stands there and is still before the group."""
    n_partitions = await offsets.n_partitions(place.topic)
    if place.partition >= n_partitions:
        raise ConfigError(f"skip must name a partition below {n_partitions}, got {place}")
    committed = await offsets.committed(place.topic, place.partition) or 0
    begin, end = await samples.begin(place.partition), await samples.end(place.partition)
    first = max(begin, committed)
    if not first <= place.offset < end:
        raise ConfigError(f"skip must name an offset in [{first}, {end}), which the group has before it, got {place}")
    records = await samples.read(place.partition, place.offset, place.offset + 1)
    if not records or records[0].offset != place.offset:
        raise ConfigError(f"skip must name an offset with a message, got {place}")
    return records[0]
