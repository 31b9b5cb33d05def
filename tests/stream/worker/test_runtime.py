"""A worker that dies between any two things it does: the next one says the rest, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.loading import parse
from config.worker import WorkerSettings
from stream.contracts.messages import Message, StreamDescription, frame_message, marker_message
from stream.contracts.topics import Topics
from stream.worker.changelog import FLOOR_HEADER, Changelog
from stream.worker.counts import WorkerCounts
from stream.worker.marker_feed import MarkerFeed
from stream.worker.runtime import Links, WorkerRuntime
from tests.stream.worker.streams import WINDOWED, described, frames, markers_of, signal, stream_info, uninterrupted

TOPICS = Topics("t")
CONFIG = parse({**WINDOWED, "kafka": {"bootstrap": "nowhere:1", "prefix": "t"}})


class Death(Exception):
    """The worker is dead."""


class Memory:
    """Brokers in memory that take so many more messages before the worker dies."""

    def __init__(self, samples: list[Message], markers: list[Message]) -> None:
        self.samples = [_record(offset, message) for offset, message in enumerate(samples)]
        self.markers = [_record(offset, message) for offset, message in enumerate(markers)]
        self.changelog: list[Any] = []
        self.events: dict[bytes, set[str]] = {}
        self.dead: list[Message] = []
        self.committed: int | None = None
        self.budget = 10**9
        self.topic = "t.windowed.snapshots"

    def _live(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise Death

    async def send(self, message: Message) -> None:
        self._live()
        if message.topic == TOPICS.dead:
            self.dead.append(message)
        else:
            self.events.setdefault(message.key, set()).add(message.value.decode())

    def take(self) -> list[asyncio.Future[Any]]:
        return []

    async def store(
        self, topic: str, partition: int, key: str, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> asyncio.Future[Any]:
        assert topic == self.topic
        self._live()
        record = _record(len(self.changelog), Message(topic, key.encode(), cast(bytes, value), headers))
        self.changelog.append(record)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(record)
        return done

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        self._live()
        self.committed = offsets[0]
        return True

    def reader(self, records: list[Any]) -> Any:
        async def begin(partition: int) -> int:
            return 0

        async def end(partition: int) -> int:
            return len(records)

        async def read(partition: int, start: int, stop: int) -> list[Any]:
            return records[start:stop]

        return SimpleNamespace(begin=begin, end=end, read=read, topic=self.topic)


def _record(offset: int, message: Message) -> Any:
    return SimpleNamespace(
        partition=0, offset=offset, key=message.key, value=message.value, headers=list(message.headers)
    )


def runtime_on(memory: Memory, descriptions: dict[str, StreamDescription], large_windows: bool) -> WorkerRuntime:
    async def of(stream: str, session: int) -> StreamDescription | None:
        return descriptions.get(stream)

    async def committed(topic: str, partition: int) -> int | None:
        return memory.committed

    async def seek(partition: int, offset: int) -> None:
        raise AssertionError("offsets have no holes")

    links = Links(
        outbox=cast(Any, memory),
        samples=memory.reader(memory.samples),
        offsets=cast(Any, SimpleNamespace(committed=committed)),
        changelog=Changelog(memory.reader(memory.changelog)),
        descriptions=cast(Any, SimpleNamespace(of=of)),
        markers=MarkerFeed(memory.reader(memory.markers)),
        seek=seek,
        commit=memory.commit,
    )
    runtime = WorkerRuntime(CONFIG, WorkerSettings(), None, links, WorkerCounts(), clock=lambda: 0.0)
    if large_windows:
        runtime.large_bytes = 0
    return runtime


async def work(memory: Memory, descriptions: dict[str, StreamDescription], large_windows: bool, every: int) -> None:
    """Be one worker until death or the end of the messages."""
    runtime = runtime_on(memory, descriptions, large_windows)
    for record in memory.samples[memory.committed or 0 :]:
        await runtime.take(record)
        if record.offset % every == every - 1:
            await runtime.checkpoint()
    await runtime.release()


def two_streams() -> tuple[list[Message], list[Message], dict[str, StreamDescription], dict[bytes, list[str]]]:
    """Return the messages of two streams in turns, the second of which begins later, and what a replay says."""
    queues, marks, descriptions, truth = [], [], {}, {}
    for index, name in enumerate(("a", "b")):
        info, block = stream_info(name), signal(900, index)
        markers = markers_of(block, 5)
        descriptions[info.source_id] = described(info)
        truth[info.source_id.encode()] = uninterrupted(CONFIG, info, block, markers)
        marks += [marker_message(TOPICS, one, stream=info.source_id, k=k, session=1) for k, one in enumerate(markers)]
        made = [frame_message(TOPICS, frame) for frame in frames(block, info, rows=30)]
        queues += [(at + 4.5 * index, message) for at, message in enumerate(made)]
    samples = [message for _, message in sorted(queues, key=lambda pair: pair[0])]
    return samples, marks, descriptions, truth


@pytest.mark.parametrize("large_windows", [False, True], ids=["whole state", "windows filled again"])
@settings(max_examples=40, deadline=None)
@given(deaths=st.lists(st.integers(0, 40), max_size=6), every=st.sampled_from([1, 3, 7]))
def test_death_between_any_two_writes_loses_and_changes_nothing(
    large_windows: bool, deaths: list[int], every: int
) -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples, markers)
    for budget in [*deaths, 10**9]:
        memory.budget = budget
        try:
            asyncio.run(work(memory, descriptions, large_windows, every))
        except Death:
            continue
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth
    assert memory.dead == []
    assert memory.committed is not None


def test_markers_of_a_stream_without_a_snapshot_survive_a_checkpoint_that_was_cut_off() -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples, markers)

    async def die_behind_the_first_snapshot() -> None:
        runtime = runtime_on(memory, descriptions, False)
        for record in memory.samples[:12]:
            await runtime.take(record)
        memory.budget = 1  # of two snapshots
        await runtime.checkpoint()

    with pytest.raises(Death):
        asyncio.run(die_behind_the_first_snapshot())
    assert [record.key for record in memory.changelog] == [b"id-a"]
    memory.budget = 10**9
    asyncio.run(work(memory, descriptions, False, 5))
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth


def test_what_cannot_be_read_is_put_aside_and_counted() -> None:
    samples, markers, descriptions, truth = two_streams()
    spoilt = [samples[0]._replace(value=b"noise"), samples[0]._replace(key=b"nobody"), *samples]
    memory = Memory(spoilt, markers)
    asyncio.run(work(memory, descriptions, False, 5))
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth
    assert [dict(letter.headers)["neuroloop_offset"] for letter in memory.dead] == [b"0", b"1"]
    assert dict(memory.dead[1].headers)["neuroloop_error"].startswith(b"key must be the frame's stream")


def test_snapshots_say_where_to_begin_to_read() -> None:
    samples, markers, descriptions, _ = two_streams()
    memory = Memory(samples, markers)
    asyncio.run(work(memory, descriptions, False, 2))
    floors = [int(dict(record.headers).get(FLOOR_HEADER, b"0")) for record in memory.changelog]
    assert floors == sorted(floors)
    assert floors[-1] >= len(memory.changelog) - 4
