"""What streams are: the compacted topic of descriptions, read when one is not known yet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from neuroloop.config.errors import WireError
from neuroloop.stream.wire.messages import StreamDescription, description_from_json
from neuroloop.stream.worker.readers import TopicReader

_log = logging.getLogger("neuroloop.worker")
LOOK_S = 0.1
"""How often the topic is looked at while a stream waits for its description."""
_LOOK_AGAIN_S = 1.0
"""The same for a stream that has been given up."""
_MAX_GIVEN_UP = 1000


class Descriptions:
    """Look streams up.

    Parameters
    ----------
    reader : TopicReader
        Of the topic of descriptions.
    describe_s : float
        How long `of` waits for a description that is still on its way.
    clock : callable
        Seconds that only go on.
    """

    def __init__(self, reader: TopicReader, *, describe_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._describe_s = describe_s
        self._clock = clock
        self._known: dict[str, dict[int, StreamDescription]] = {}
        self._removed: set[str] = set()
        self._unreadable: dict[str, str] = {}
        self._given_up: dict[tuple[str, int], str] = {}
        self._reading = asyncio.Lock()
        self._next = 0
        self._looked_s = float("-inf")

    async def of(self, stream: str, session: int) -> StreamDescription | None:
        """Return the description of a session, that of another where only this is kept, or None, after a while."""
        deadline = self._clock() + self._describe_s
        while (found := await self.look(stream, session)) is None and self._clock() < deadline:
            await asyncio.sleep(LOOK_S)
        return found

    async def look(self, stream: str, session: int) -> StreamDescription | None:
        """Return what `of` does, as far as it is there by now; the brokers are asked a few times a second at most."""
        found = self._known.get(stream, {}).get(session)
        if found is not None:
            return found
        pause_s = _LOOK_AGAIN_S if (stream, session) in self._given_up else LOOK_S
        if self._clock() >= self._looked_s + pause_s:
            await self.catch_up()
        return self.find(stream, session)

    def find(self, stream: str, session: int) -> StreamDescription | None:
        """Return the session's own description, or a newer one: compaction keeps only that."""
        sessions = self._known.get(stream, {})
        if session in sessions:
            return sessions[session]
        newest = max(sessions, default=None)
        return sessions[newest] if newest is not None and newest > session else None

    def give_up(self, stream: str, session: int, why: str) -> None:
        """Wait no longer for a description: until it comes the frames of the session are refused at once."""
        self._given_up[(stream, session)] = why
        if len(self._given_up) > _MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def why_none(self, stream: str, session: int) -> str:
        """Return why it makes no sense to wait for a description; empty where it does."""
        unreadable = self._unreadable.get(stream)
        if unreadable is not None:
            return f"stream must be described as one can be, got for {stream!r}: {unreadable}"
        return self._given_up.get((stream, session), "")

    def is_removed(self, stream: str) -> bool:
        """Whether somebody has removed a stream, as far as it was read."""
        return stream in self._removed

    async def catch_up(self) -> None:
        """Read what was said since the last time."""
        async with self._reading:
            self._looked_s = self._clock()
            end = await self._reader.end(0)
            if self._next >= end:
                return
            self._next = max(self._next, await self._reader.begin(0))
            for record in await self._reader.read(0, self._next, end):
                end = max(end, record.offset + 1)
                self._take((record.key or b"").decode("utf-8", "replace"), record.value, record.offset)
            self._next = end

    def _take(self, key: str, value: bytes | None, offset: int) -> None:
        """Take one message of the topic."""
        self._unreadable.pop(key, None)
        if value is None:
            self._known.pop(key, None)
            self._removed.add(key)
            return
        try:
            description = description_from_json(value)
        except WireError as error:
            _log.warning("the description of %r at offset %d cannot be read: %s", key, offset, error)
            self._unreadable[key] = str(error)
            return
        self._removed.discard(description.stream)
        sessions = self._known.setdefault(description.stream, {})
        sessions[description.session] = description
        for old in sorted(sessions)[:-4]:
            del sessions[old]
