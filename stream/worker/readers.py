"""Reading topics that are not shared out among the group: changelog, descriptions, markers, offsets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.client_arguments import aiokafka_arguments
from neuroloop.stream.worker.errors import WorkerError, words

_POLL_MS = 200
_DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)
"""What waiting does not mend."""


class TopicReader:
    """Read partitions of one topic from an offset to their end, as often as wanted; not part of any group.

    A topic has a reader of its own: a client forgets topics that it is not assigned to.

    Parameters
    ----------
    settings : KafkaSettings
    topic : str
    patience_s : float
        How long the brokers may be away.
    """

    def __init__(self, settings: KafkaSettings, topic: str, *, patience_s: float) -> None:
        self.topic = topic
        self._patience_s = patience_s
        self._consumer = AIOKafkaConsumer(
            **aiokafka_arguments(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=max(1_048_576, 2 * settings.max_message_bytes),
        )
        self._lock = asyncio.Lock()
        self._is_started = False

    async def _start(self) -> None:
        if not self._is_started:
            await patiently(self._consumer.start, f"what {self.topic} is", self._patience_s)
            self._is_started = True

    async def stop(self) -> None:
        """Close the connection."""
        if self._is_started:
            with suppress(asyncio.CancelledError, KafkaError):  # of a fetch that was under way
                await self._consumer.stop()
            self._is_started = False

    async def begin(self, partition: int) -> int:
        """Return the oldest offset."""
        return (await self._bounds(self._consumer.beginning_offsets, [partition]))[partition]

    async def end(self, partition: int) -> int:
        """Return the offset of the next message."""
        return (await self.ends([partition]))[partition]

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset of the next message of each partition, with one request for all."""
        return await self._bounds(self._consumer.end_offsets, partitions)

    async def reach(self) -> None:
        """Ask for anything: a worker without partitions would not notice that the brokers are gone.

        Raises
        ------
        WorkerError
            If they are away for too long.
        """
        await self.begin(0)

    async def _bounds(
        self, ask: Callable[..., Awaitable[Mapping[Any, int]]], partitions: Iterable[int]
    ) -> dict[int, int]:
        places = [TopicPartition(self.topic, partition) for partition in partitions]
        async with self._lock:
            await self._start()
            found = await patiently(lambda: ask(places), f"the offsets of {self.topic}", self._patience_s)
            return {place.partition: int(found[place]) for place in places}

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
            deadline = time.monotonic() + self._patience_s
            while await self._consumer.position(place) < end:
                found = await self._consumer.getmany(place, timeout_ms=_POLL_MS)
                if place in found:
                    deadline = time.monotonic() + self._patience_s
                    records += found[place]
                if time.monotonic() > deadline:
                    raise WorkerError(
                        f"topic {self.topic} must be readable to {end}, got nothing for {self._patience_s:g} s"
                    )
            self._consumer.pause(place)  # nothing is fetched that nobody asked for
        return records


class GroupOffsets:
    """What a group has committed.

    Parameters
    ----------
    settings : KafkaSettings
    group : str
    patience_s : float
        How long the brokers may be away.
    """

    def __init__(self, settings: KafkaSettings, group: str, *, patience_s: float) -> None:
        self._patience_s = patience_s
        self._admin = AIOKafkaAdminClient(**aiokafka_arguments(settings))
        self._group = group

    async def start(self) -> None:
        """Connect."""
        await patiently(self._admin.start, "the group's offsets", self._patience_s)

    async def stop(self) -> None:
        """Close the connection."""
        await self._admin.close()

    async def committed(self, topic: str, partition: int) -> int | None:
        """Return the committed offset of a partition, None where there is none."""
        place = TopicPartition(topic, partition)
        found = await patiently(
            lambda: self._admin.list_consumer_group_offsets(self._group, partitions=[place]),
            "the group's offsets",
            self._patience_s,
        )
        offset = found[place].offset if place in found else -1
        return offset if offset >= 0 else None

    async def n_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has by now."""
        found = await patiently(
            lambda: self._admin.describe_topics([topic]), f"the partitions of {topic}", self._patience_s
        )
        return len(found[0]["partitions"]) if found else 0


async def patiently(ask: Any, what: str, patience_s: float) -> Any:
    """Ask a broker again while it is away.

    Raises
    ------
    WorkerError
        If it does not answer for so long, or does not let this user.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return await ask()
        except _DENIED as error:
            raise WorkerError(f"rights must be given to this user to ask for {what}, got {words(error)}") from error
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                raise WorkerError(f"brokers must tell {what}, got {words(error)}") from error
            await asyncio.sleep(0.2)
