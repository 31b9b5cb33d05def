"""Sending through Faust's producer, and knowing what the brokers have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from neuroloop.stream.wire.messages import Message
from neuroloop.stream.worker.errors import WorkerError, words


class Outbox:
    """Send messages and keep their acknowledgements until someone asks.

    Parameters
    ----------
    app : faust.App
        Whose producer sends.
    max_pending : int
        With more on their way, sending waits: a broker that is away must not fill the memory.
    """

    def __init__(self, app: Any, max_pending: int) -> None:
        self._app = app
        self._max_pending = max_pending
        self._pending: list[asyncio.Future[Any]] = []

    async def send(self, message: Message) -> None:
        """Hand one message to the client; the next `take` speaks for it."""
        time_s = None if message.timestamp_ms is None else (message.timestamp_ms + 0.5) / 1e3  # the client truncates
        self._pending.append(await self._send(message.topic, message.key, message.value, None, time_s, message.headers))
        if len(self._pending) >= self._max_pending:
            await self._prune()

    async def store(
        self, topic: str, partition: int, key: str, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> asyncio.Future[Any]:
        """Send to a partition; the future is the caller's."""
        return await self._send(topic, key.encode(), value, partition, None, headers)

    async def _send(
        self, topic: str, key: bytes, value: bytes | None, partition: int | None, time_s: float | None,
        headers: tuple[tuple[str, bytes], ...],
    ) -> asyncio.Future[Any]:  # fmt: skip
        producer = await self._app.maybe_start_producer()
        try:
            sent: Awaitable[Any] = await producer.send(topic, key, value, partition, time_s, list(headers))
        except (KafkaError, ProducerSendError) as error:
            raise _refused(error) from error
        return asyncio.ensure_future(sent)

    async def _prune(self) -> None:
        """Wait until half of what is on its way has arrived."""
        half = len(self._pending) // 2
        first, self._pending = self._pending[:half], self._pending[half:]
        await arrived(first)

    def take(self) -> list[asyncio.Future[Any]]:
        """Return the acknowledgements of everything sent so far; they are the caller's now."""
        taken, self._pending = self._pending, []
        return taken


async def arrived(acknowledgements: list[asyncio.Future[Any]]) -> list[Any]:
    """Wait for acknowledgements.

    Raises
    ------
    WorkerError
        If the brokers refused one, or were away for too long.
    """
    try:
        return await asyncio.gather(*acknowledgements)
    except (KafkaError, ProducerSendError, OSError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> WorkerError:
    return WorkerError(f"brokers must take every message, got {words(error)}")
