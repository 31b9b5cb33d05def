"""Streams whose description is late or never comes: they alone wait, and whatever dies, the events are the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.wire.messages import Message, StreamDescription, description_message
from neuroloop.stream.worker.descriptions import Descriptions
from neuroloop.stream.worker.runtime import WorkerRuntime
from tests.stream.worker.test_runtime import TOPICS, Death, Memory, one_stream, record_of, runtime_on, two_streams


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Topic:
    """The topic of descriptions in memory."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.n_looks = 0

    def say(self, message: Message) -> None:
        self.records.append(record_of(len(self.records), message))

    def descriptions(self, clock: Clock) -> Descriptions:
        topic = self

        class Reader:
            async def begin(self, partition: int) -> int:
                return 0

            async def end(self, partition: int) -> int:
                topic.n_looks += 1
                return len(topic.records)

            async def read(self, partition: int, start: int, end: int) -> list[Any]:
                return topic.records[start:end]

        return Descriptions(cast(Any, Reader()), describe_s=5.0, clock=clock)


def worker_on(memory: Memory, topic: Topic, clock: Clock, settings: WorkerSettings | None = None) -> WorkerRuntime:
    return runtime_on(memory, topic.descriptions(clock), False, clock=clock, settings=settings)


def foreign(n: int) -> list[Message]:
    """Return frames of streams that nobody describes."""
    sent, _ = one_stream(50)
    made = []
    for k in range(n):
        info_frames, _ = one_stream(50, name=f"nobody{k}")
        made.append(info_frames[0])
    assert len(sent) == 2
    return made


def test_streams_without_a_description_hold_up_no_other() -> None:
    sent, description = one_stream(1500)
    memory, topic, clock = Memory([*foreign(20), *sent], []), Topic(), Clock()
    topic.say(description_message(TOPICS, description))

    async def first_pass() -> None:
        runtime = worker_on(memory, topic, clock)
        for record in memory.samples:
            await runtime.take(record)
        assert b"id-eeg" in memory.events  # the clock has not moved
        assert not memory.dead
        await runtime.checkpoint()
        assert memory.committed == 0  # those that wait are not dealt with
        clock.now_s = 5.1
        await runtime.look_for_descriptions()
        await runtime.checkpoint()

    asyncio.run(first_pass())
    assert memory.committed == len(memory.samples)
    assert [letter.key for letter in memory.dead] == [b"id-nobody%d" % k for k in range(20)]
    assert dict(memory.dead[0].headers)["neuroloop_error"] == (
        b"stream must be described before its frames, got none for 'id-nobody0'"
    )
    assert topic.n_looks < 10


def test_a_stream_that_is_described_late_begins_with_its_first_frame() -> None:
    samples, markers, descriptions, truth = two_streams()
    memory, topic, clock = Memory(samples, markers), Topic(), Clock()
    topic.say(description_message(TOPICS, descriptions["id-b"]))

    async def late() -> None:
        runtime = worker_on(memory, topic, clock)
        for record in memory.samples:
            await runtime.take(record)
            if record.offset == 30:
                topic.say(description_message(TOPICS, descriptions["id-a"]))
                clock.now_s = 1.0
                await runtime.look_for_descriptions()
        await runtime.release()

    asyncio.run(late())
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth
    assert memory.dead == []
    assert memory.committed == len(samples)


@property_settings(max_examples=25, deadline=None)
@given(
    deaths=st.lists(st.integers(0, 30), max_size=4),
    every=st.sampled_from([1, 3, 7]),
    described_at=st.tuples(st.integers(0, 61), st.integers(0, 61)),
    swaps=st.lists(st.integers(0, 55), max_size=6),
)
def test_whoever_dies_while_streams_wait_nothing_is_lost_or_changed(
    deaths: list[int], every: int, described_at: tuple[int, int], swaps: list[int]
) -> None:
    samples, markers, descriptions, truth = two_streams()
    for at in swaps:  # frames out of order wait for others, beside waiting for a description
        samples[at], samples[at + 4] = samples[at + 4], samples[at]
    memory, topic, clock = Memory(samples, markers), Topic(), Clock()
    said: set[str] = set()

    async def be_one_worker() -> None:
        runtime = worker_on(memory, topic, clock, WorkerSettings(reorder_frames=16, hold_frames=40))
        for record in memory.samples[memory.committed or 0 :]:
            for stream, at in zip(("id-a", "id-b"), described_at, strict=True):
                if record.offset >= at and stream not in said:
                    said.add(stream)
                    topic.say(description_message(TOPICS, descriptions[stream]))
            clock.now_s += 0.03
            await runtime.take(record)
            if record.offset % every == every - 1:
                await runtime.look_for_descriptions()
                await runtime.checkpoint()
        await runtime.look_for_descriptions()
        await runtime.release()

    for budget in [*deaths, 10**9]:
        memory.budget = budget
        try:
            asyncio.run(be_one_worker())
        except Death:
            continue
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth
    assert memory.dead == []
    assert memory.committed == len(samples)


def test_a_new_session_that_waits_does_not_let_frames_of_the_old_one_pass() -> None:
    first, description = one_stream(600)
    second, _ = one_stream(600, session=2, seed=2)
    memory, topic, clock = Memory([*first[:6], second[0], *first[6:], *second[1:]], []), Topic(), Clock()
    topic.say(description_message(TOPICS, description))

    async def waits() -> int:
        runtime = worker_on(memory, topic, clock)
        for record in memory.samples:
            await runtime.take(record)
        topic.say(description_message(TOPICS, replace(description, session=2)))
        clock.now_s = 1.0
        await runtime.look_for_descriptions()
        await runtime.release()
        return runtime.counts.duplicates

    assert asyncio.run(waits()) == 6 * 50  # what came of the old session behind the new one
    assert memory.committed == len(memory.samples)
    assert memory.dead == []


def test_frames_that_wait_are_bounded_and_the_oldest_stream_is_given_up_first() -> None:
    memory, topic, clock = Memory(foreign(20), []), Topic(), Clock()
    small = WorkerSettings(undescribed_mb=10 * len(memory.samples[0].value) / 1e6)

    async def bounded() -> int:
        runtime = worker_on(memory, topic, clock, small)
        for record in memory.samples:
            await runtime.take(record)
        return runtime.partitions[0].undescribed.n_bytes

    assert 0 < asyncio.run(bounded()) <= small.undescribed_mb * 1e6
    assert [letter.key for letter in memory.dead] == [b"id-nobody%d" % k for k in range(len(memory.dead))]
    assert len(memory.dead) > 5
    assert b"before more than 0.0" in dict(memory.dead[0].headers)["neuroloop_error"]


def test_a_description_that_cannot_be_read_refuses_its_stream_with_the_reason_at_once() -> None:
    sent, description = one_stream(300)
    memory, topic, clock = Memory(sent, []), Topic(), Clock()
    topic.say(description_message(TOPICS, replace(description, first_sample=-1)))

    async def refused() -> None:
        runtime = worker_on(memory, topic, clock)
        for record in memory.samples:
            await runtime.take(record)
        await runtime.release()

    asyncio.run(refused())
    assert memory.committed == len(sent)
    assert {dict(letter.headers)["neuroloop_error"] for letter in memory.dead} == {
        b"stream must be described as one can be, got for 'id-eeg': first_sample must be in [0, 2**53], got -1"
    }


def test_a_stream_that_was_given_up_begins_when_it_is_described_after_all() -> None:
    sent, description = one_stream(1500)
    memory, topic, clock = Memory(sent, []), Topic(), Clock()

    async def late() -> None:
        runtime = worker_on(memory, topic, clock)
        for record in memory.samples:
            if record.offset == 10:
                topic.say(description_message(TOPICS, description))
            clock.now_s += 2.0
            await runtime.take(record)
            await runtime.look_for_descriptions()
        await runtime.release()

    asyncio.run(late())
    assert 3 <= len(memory.dead) <= 10
    assert any('"what":"rows_lost"' in line for line in memory.events[b"id-eeg"])


def test_looking_a_stream_up_waits_for_what_is_still_on_its_way() -> None:
    _, description = one_stream(50)
    topic = Topic()

    async def found() -> StreamDescription | None:
        descriptions = topic.descriptions(cast(Any, asyncio.get_running_loop().time))
        asyncio.get_running_loop().call_later(0.05, topic.say, description_message(TOPICS, description))
        return await descriptions.of(description.stream, description.session)

    assert asyncio.run(found()) == description


@pytest.mark.parametrize("session", [0, 3])
def test_a_newer_description_stands_for_one_that_is_not_kept(session: int) -> None:
    _, description = one_stream(50)
    topic = Topic()
    topic.say(description_message(TOPICS, replace(description, session=2)))
    found = asyncio.run(topic.descriptions(Clock()).look(description.stream, session))
    assert (found is not None) == (session < 2)
