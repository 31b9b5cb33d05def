"""What streams are: the compacted topic of descriptions, read when one is not known yet."""

from __future__ import annotations

import asyncio
import logging
import time

from neuroloop.config.errors import WireError
from neuroloop.stream.wire.messages import StreamDescription, description_from_json
from neuroloop.stream.worker.readers import TopicReader

_log = logging.getLogger("neuroloop.worker")
_LOOK_S = 0.1


class Descriptions:
    """Look streams up.

    Parameters
    ----------
    reader : TopicReader
        Of the topic of descriptions.
    describe_s : float
        How long to wait for a description that is still on its way.
    """

    def __init__(self, reader: TopicReader, *, describe_s: float) -> None:
        self._reader = reader
        self._describe_s = describe_s
        self._known: dict[str, dict[int, StreamDescription]] = {}
        self._removed: set[str] = set()
        self._missing: dict[tuple[str, int], float] = {}
        self._next = 0

    async def of(self, stream: str, session: int) -> StreamDescription | None:
        """Return the description of a session, that of another where only this is kept, or None."""
        found = self._known.get(stream, {}).get(session)
        if found is not None:
            return found
        asked = self._missing.get((stream, session))
        now = time.monotonic()
        deadline = now + self._describe_s
        if asked is not None and now < asked + 10 * self._describe_s:
            return None
        while True:
            await self._catch_up()
            found = self._find(stream, session)
            if found is not None or time.monotonic() >= deadline:
                break
            await asyncio.sleep(_LOOK_S)
        if found is None:
            self._missing[(stream, session)] = time.monotonic()
            if len(self._missing) > 1000:
                del self._missing[next(iter(self._missing))]
        return found

    def is_removed(self, stream: str) -> bool:
        """Whether somebody has removed a stream, as far as it was read."""
        return stream in self._removed

    def _find(self, stream: str, session: int) -> StreamDescription | None:
        """Return the session's own description, or a newer one: compaction keeps only that."""
        sessions = self._known.get(stream, {})
        if session in sessions:
            return sessions[session]
        newest = max(sessions, default=None)
        return sessions[newest] if newest is not None and newest > session else None

    async def _catch_up(self) -> None:
        """Read what was said since the last time."""
        end = await self._reader.end(0)
        if self._next >= end:
            return
        self._next = max(self._next, await self._reader.begin(0))
        for record in await self._reader.read(0, self._next, end):
            end = max(end, record.offset + 1)
            if record.value is None:
                removed = (record.key or b"").decode("utf-8", "replace")
                self._known.pop(removed, None)
                self._removed.add(removed)
                continue
            try:
                description = description_from_json(record.value)
            except WireError as error:
                _log.warning("a description at offset %d cannot be read: %s", record.offset, error)
                continue
            self._removed.discard(description.stream)
            sessions = self._known.setdefault(description.stream, {})
            sessions[description.session] = description
            for old in sorted(sessions)[:-4]:
                del sessions[old]
        self._next = end
