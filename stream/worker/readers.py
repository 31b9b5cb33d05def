"""Reading topics that are not shared out among the group: changelog, descriptions, markers, offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from config.kafka import KafkaSettings
from stream.worker.connection import reader_arguments
from stream.worker.errors import WorkerError

_POLL_MS = 200
_PATIENCE_S = 60.0


class TopicReader:
    """Read partitions of one topic from an offset to their end, as often as wanted; not part of any group.

    A topic has a reader of its own: a client forgets topics that it is not assigned to.

    Parameters
    ----------
    settings : KafkaSettings
    topic : str
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self.topic = topic
        self._consumer = AIOKafkaConsumer(
            **reader_arguments(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=max(1_048_576, 2 * settings.max_message_bytes),
        )
        self._lock = asyncio.Lock()
        self._is_started = False

    async def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            await self._consumer.start()

    async def stop(self) -> None:
        """Close the connection."""
        if self._is_started:
            with suppress(asyncio.CancelledError, KafkaError):  # of a fetch that was under way
                await self._consumer.stop()

    async def begin(self, partition: int) -> int:
        """Return the oldest offset."""
        return await self._bound(self._consumer.beginning_offsets, partition)

    async def end(self, partition: int) -> int:
        """Return the offset of the next message."""
        return await self._bound(self._consumer.end_offsets, partition)

    async def _bound(self, ask: Callable[..., Awaitable[Mapping[Any, int]]], partition: int) -> int:
        place = TopicPartition(self.topic, partition)
        async with self._lock:
            await self._start()
            found = await patiently(lambda: ask([place]), f"the offsets of {self.topic}")
            return int(found[place])

    async def read(self, partition: int, start: int, end: int) -> list[Any]:
        """Return the records from ``start`` to ``end`` at least; some offsets may be missing.

        The embedded broker names the second record of its last batch as the end; batches are therefore read whole.

        Raises
        ------
        WorkerError
            If the brokers do not give them.
        """
        place = TopicPartition(self.topic, partition)
        records: list[Any] = []
        if start >= end:
            return records
        async with self._lock:
            await self._start()
            self._consumer.assign([place])
            self._consumer.seek(place, start)
            deadline = time.monotonic() + _PATIENCE_S
            while await self._consumer.position(place) < end:
                found = await self._consumer.getmany(place, timeout_ms=_POLL_MS)
                if place in found:
                    deadline = time.monotonic() + _PATIENCE_S
                    records += found[place]
                if time.monotonic() > deadline:
                    raise WorkerError(f"topic {self.topic} must be readable to {end}, got nothing for a minute")
            self._consumer.pause(place)  # nothing is fetched that nobody asked for
        return records


class GroupOffsets:
    """What a group has committed.

    Parameters
    ----------
    settings : KafkaSettings
    group : str
    """

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._admin = AIOKafkaAdminClient(**reader_arguments(settings))
        self._group = group

    async def start(self) -> None:
        """Connect."""
        await self._admin.start()

    async def stop(self) -> None:
        """Close the connection."""
        await self._admin.close()

    async def committed(self, topic: str, partition: int) -> int | None:
        """Return the committed offset of a partition, None where there is none."""
        place = TopicPartition(topic, partition)
        found = await patiently(
            lambda: self._admin.list_consumer_group_offsets(self._group, partitions=[place]), "the group's offsets"
        )
        offset = found[place].offset if place in found else -1
        return offset if offset >= 0 else None


async def patiently(ask: Any, what: str) -> Any:
    """Ask a broker again while it is away.

    Raises
    ------
    WorkerError
        If it does not answer for a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await ask()
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                raise WorkerError(f"brokers must tell {what}, got {type(error).__name__}: {error}") from error
            await asyncio.sleep(0.2)
