"""A worker that dies between any two things it does: the next one says the rest, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from neuroloop.config.loading import parse
from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.wire.messages import (
    Message,
    StreamDescription,
    frame_message,
    marker_message,
)
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.changelog import FLOOR_HEADER, Changelog
from neuroloop.stream.worker.clients import Clients
from neuroloop.stream.worker.control import Control
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.descriptions import Descriptions
from neuroloop.stream.worker.errors import WorkerError
from neuroloop.stream.worker.marker_feed import MarkerFeed
from neuroloop.stream.worker.runtime import WorkerRuntime
from neuroloop.stream.worker.said_once import SaidOnce
from tests.stream.worker.streams import WINDOWED, described, frames, markers_of, signal, stream_info, uninterrupted

TOPICS = Topics("t")
CONFIG = parse({**WINDOWED, "kafka": {"bootstrap": "nowhere:1", "prefix": "t"}})


class Death(Exception):
    """The worker is dead."""


class Told:
    """Descriptions that are simply there; those beyond what can be read, too."""

    def __init__(self, known: Mapping[str, StreamDescription], removed: set[str]) -> None:
        self._known = known
        self.is_removed = removed.__contains__

    async def of(self, stream: str, session: int) -> StreamDescription | None:
        return self._known.get(stream)

    look = of

    def give_up(self, stream: str, session: int, why: str) -> None:
        pass

    def why_none(self, stream: str, session: int) -> str:
        return f"stream must be described before its frames, got none for {stream!r}"


class Memory:
    """Brokers in memory that take so many more messages before the worker dies."""

    def __init__(self, samples: list[Message], markers: list[Message]) -> None:
        self.samples = [record_of(offset, message) for offset, message in enumerate(samples)]
        self.markers = [record_of(offset, message) for offset, message in enumerate(markers)]
        self.changelog: list[Any] = []
        self.events: dict[bytes, set[str]] = {}
        self.dead: list[Message] = []
        self.committed: int | None = None
        self.disowned: set[int] = set()
        self.removed: set[str] = set()
        self.sought: list[int] = []
        self.oldest = 0
        self.loses_commits = False
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
            self.events.setdefault(message.key, set()).add(canonical(json.loads(message.value)))

    def take(self) -> list[asyncio.Future[Any]]:
        return []

    async def store(
        self, topic: str, partition: int, key: str, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> asyncio.Future[Any]:
        assert topic == self.topic
        self._live()
        record = record_of(len(self.changelog), Message(topic, key.encode(), cast(bytes, value), headers))
        self.changelog.append(record)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(record)
        return done

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        self._live()
        if self.loses_commits:
            return False
        self.committed = offsets[0]
        return True

    def reader(self, records: list[Any]) -> Any:
        async def begin(partition: int) -> int:
            return 0

        async def end(partition: int) -> int:
            return len(records)

        async def read(partition: int, start: int, stop: int) -> list[Any]:
            return records[start:stop]

        async def ends(partitions: Iterable[int]) -> dict[int, int]:
            return {partition: await end(partition) for partition in partitions}

        return SimpleNamespace(begin=begin, end=end, ends=ends, read=read, topic=self.topic)


def record_of(offset: int, message: Message) -> Any:
    return SimpleNamespace(
        partition=0, offset=offset, key=message.key, value=message.value, headers=list(message.headers)
    )


def runtime_on(
    memory: Memory,
    descriptions: dict[str, StreamDescription] | Descriptions,
    large_windows: bool,
    *,
    settings: WorkerSettings | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    control: Control | None = None,
    n_partitions: int | None = None,
) -> WorkerRuntime:
    async def committed(topic: str, partition: int) -> int | None:
        return memory.committed

    async def seek(partition: int, offset: int) -> None:
        memory.sought.append(offset)

    async def oldest(partition: int) -> int:
        return memory.oldest

    counts = WorkerCounts()
    clients = Clients(
        outbox=cast(Any, memory),
        samples=cast(Any, SimpleNamespace(begin=oldest)),
        offsets=cast(Any, SimpleNamespace(committed=committed)),
        changelog=Changelog(memory.reader(memory.changelog)),
        descriptions=cast(Any, Told(descriptions, memory.removed) if isinstance(descriptions, dict) else descriptions),
        markers=MarkerFeed(memory.reader(memory.markers), counts),
        control=control or Control(memory.reader([])),
        seek=seek,
        commit=memory.commit,
        owns=lambda message: message.offset not in memory.disowned,
    )
    runtime = WorkerRuntime(
        CONFIG, settings or WorkerSettings(), None, clients, counts, clock=clock, n_partitions=n_partitions
    )
    if large_windows:
        runtime.large_bytes = 0
    return runtime


async def work(
    memory: Memory,
    descriptions: dict[str, StreamDescription],
    large_windows: bool,
    every: int,
    *,
    settings: WorkerSettings | None = None,
) -> None:
    """Be one worker until death or the end of the messages."""
    runtime = runtime_on(memory, descriptions, large_windows, settings=settings)
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
@property_settings(max_examples=40, deadline=None)
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
    assert memory.sought == []


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


def spoil(monkeypatch: pytest.MonkeyPatch, stream: str, sample: int, error: Exception) -> None:
    """Let the pipeline fail at a sample of a stream."""
    push = Engine.push_block

    def failing(engine: Engine, block: RawBlock) -> list[Event]:
        if engine.pipeline.info.name == stream and engine.sequencer.next_sample <= sample < (
            engine.sequencer.next_sample + len(block.timestamps)
        ):
            raise error
        return push(engine, block)

    monkeypatch.setattr(Engine, "push_block", failing)


@pytest.mark.parametrize(
    "error", [ValueError("no"), ZeroDivisionError("by 0"), OverflowError("far"), RecursionError("deep"), KeyError("k")]
)
@property_settings(max_examples=4, deadline=None)
@given(deaths=st.lists(st.integers(0, 40), max_size=4), every=st.sampled_from([1, 3, 7]))
def test_what_the_pipeline_cannot_process_ends_that_session_alone_whoever_dies(
    error: Exception, deaths: list[int], every: int
) -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples, markers)
    with pytest.MonkeyPatch.context() as monkeypatch:
        spoil(monkeypatch, "b", 400, error)
        for budget in [*deaths, 10**9]:
            memory.budget = budget
            try:
                asyncio.run(work(memory, descriptions, False, every))
            except Death:
                continue
    assert sorted(memory.events[b"id-a"]) == truth[b"id-a"]
    said = [line for line in truth[b"id-b"] if json.loads(line)["sample"] < 390]  # 390: the frame's first
    assert {line for line in memory.events[b"id-b"] if json.loads(line)["sample"] < 390} == set(said)
    assert all(json.loads(line)["sample"] < 390 for line in memory.events[b"id-b"])
    assert memory.committed == len(samples)
    letters = {dict(one.headers)["neuroloop_offset"]: dict(one.headers) for one in memory.dead}
    assert len(letters) == 31 - 13  # from the frame that holds the sample, the last one included
    why = {one["neuroloop_error"].decode() for one in letters.values()}
    assert why == {f"the pipeline must be able to process the stream, got {type(error).__name__}: {error}"}


@pytest.mark.parametrize("changed", [{"first_sample": -1}, {"sfreq": 0.01}, {"first_sample": 10**30}])
def test_what_cannot_be_built_is_refused_with_its_reason_and_the_offset_moves(changed: dict[str, Any]) -> None:
    samples, markers, descriptions, truth = two_streams()
    good = descriptions["id-a"]
    bad = replace(
        good,
        info=replace(good.info, sfreq=changed.get("sfreq", good.info.sfreq)),
        first_sample=changed.get("first_sample", 0),
    )
    memory = Memory(samples, markers)
    asyncio.run(work(memory, {**descriptions, "id-a": bad}, False, 5))
    assert sorted(memory.events[b"id-b"]) == truth[b"id-b"]
    assert memory.committed == len(samples)
    assert {letter.key for letter in memory.dead} == {b"id-a"}
    assert len(memory.dead) == 31


def test_a_stream_that_is_described_unfit_over_its_snapshot_stops_nobody_and_goes_on_when_mended() -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples[:24], markers)
    asyncio.run(work(memory, descriptions, False, 5))
    memory.samples += [record_of(24 + k, message) for k, message in enumerate(samples[24:34])]
    good = descriptions["id-a"]
    unfit = {**descriptions, "id-a": replace(good, info=replace(good.info, sfreq=0.01))}
    asyncio.run(work(memory, unfit, False, 5))
    assert memory.committed == 34
    assert {letter.key for letter in memory.dead} == {b"id-a"}
    memory.samples += [record_of(34 + k, message) for k, message in enumerate(samples[34:])]
    asyncio.run(work(memory, descriptions, False, 5, settings=WorkerSettings(reorder_frames=2)))
    assert sorted(memory.events[b"id-b"]) == truth[b"id-b"]
    what = [json.loads(line)["what"] for line in memory.events[b"id-a"] if '"type":"stream"' in line]
    assert "rows_lost" in what


def said_of(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


@pytest.mark.parametrize("kind", ["begins anew", "begins anew with its clock", "counts frames"])
def test_an_index_that_is_no_index_of_rows_is_said_once_and_one_frame_is_put_aside(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    info = stream_info()
    made = frames(signal(1500, 1, gaps=False), info, rows=50)[:-1]
    if kind == "begins anew":
        made[20:] = [replace(frame, first_sample=frame.first_sample - 1000) for frame in made[20:]]
    elif kind == "begins anew with its clock":
        made = frames(signal(3000, 1, gaps=False), info, rows=30)[:-1]
        made += [replace(frame, data=frame.data + 1.0) for frame in made[:60]]
    else:
        made = [replace(frame, first_sample=index) for index, frame in enumerate(made)]
    memory = Memory([frame_message(TOPICS, frame) for frame in made], [])
    with caplog.at_level("WARNING", "neuroloop.worker"):
        asyncio.run(work(memory, {"id-eeg": described(info)}, False, 5))
    (letter,) = memory.dead
    why = dict(letter.headers)["neuroloop_error"].decode()
    assert why.startswith("first_sample must go on with the rows, not begin anew or count frames, in session 1, got ")
    assert len(said_of(caplog, "first_sample must go on")) == 1


def test_copies_are_no_reason_to_say_anything(caplog: pytest.LogCaptureFixture) -> None:
    sent, description = one_stream(1500)
    memory = Memory([*sent[:20], *sent[5:15], *sent[15:]], [])
    with caplog.at_level("WARNING", "neuroloop.worker"):
        asyncio.run(work(memory, {description.stream: description}, False, 5))
    assert memory.dead == []
    assert not caplog.records


def test_rows_behind_the_end_of_their_session_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sent, description = one_stream(600)
    memory = Memory([*sent, *sent[:6]], [])
    with caplog.at_level("WARNING", "neuroloop.worker"):
        asyncio.run(work(memory, {description.stream: description}, False, 3))
    (line,) = said_of(caplog, "come behind its end")
    assert line.startswith("stream 'id-eeg': rows of session 1 come behind its end: a producer that begins anew must")


def test_dead_letters_are_said_once_for_each_stream_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    sent, description = one_stream(300)
    spoilt = [message._replace(value=value, key=key) for message in sent[:3] for key in (b"x", b"y")
              for value in (b"noise that is long", message.value)]  # fmt: skip
    memory = Memory(spoilt, [])
    with caplog.at_level("WARNING", "neuroloop.worker"):
        asyncio.run(work(memory, {description.stream: description}, False, 5))
    assert len(memory.dead) == 12
    assert len(said_of(caplog, "goes to t.dead")) == 4


def test_a_flood_of_names_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    said = SaidOnce()
    with caplog.at_level("WARNING", "neuroloop.worker"):
        assert sum(said.is_first(b"%d" % k, "why") for k in range(5000)) == 1000
    assert len(caplog.records) == 1


def test_snapshots_say_where_to_begin_to_read() -> None:
    samples, markers, descriptions, _ = two_streams()
    memory = Memory(samples, markers)
    asyncio.run(work(memory, descriptions, False, 2))
    floors = [int(dict(record.headers).get(FLOOR_HEADER, b"0")) for record in memory.changelog]
    assert floors == sorted(floors)
    assert floors[-1] >= len(memory.changelog) - 4


def test_messages_of_partitions_that_went_to_others_are_left_to_them() -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples, markers)
    memory.disowned = set(range(10, len(samples)))
    asyncio.run(work(memory, descriptions, False, 5))
    assert memory.committed == 10
    memory.disowned = set()
    asyncio.run(work(memory, descriptions, False, 5))
    assert {key: sorted(lines) for key, lines in memory.events.items()} == truth


def test_a_stream_that_was_removed_does_not_hold_up_the_others() -> None:
    samples, markers, descriptions, truth = two_streams()
    memory = Memory(samples[:24], markers)
    asyncio.run(work(memory, descriptions, False, 5))
    memory.samples += [record_of(24 + k, message) for k, message in enumerate(samples[24:])]
    with pytest.raises(WorkerError, match=r"stream 'id-a' must be described on t.streams, got its snapshot alone: "):
        asyncio.run(work(memory, {"id-b": descriptions["id-b"]}, False, 5))
    memory.removed = {"id-a"}
    asyncio.run(work(memory, {"id-b": descriptions["id-b"]}, False, 5))
    assert sorted(memory.events[b"id-b"]) == truth[b"id-b"]
    assert {letter.key for letter in memory.dead} == {b"id-a"}
    assert {dict(letter.headers)["neuroloop_error"] for letter in memory.dead} == {
        b"stream must be described before its frames, got none for 'id-a'"
    }


def one_stream(
    n_samples: int = 1800, *, session: int = 1, seed: int = 1, name: str = "eeg"
) -> tuple[list[Message], StreamDescription]:
    """Return the messages of one stream, fifty rows each, and what it is."""
    info = stream_info(name)
    sent = frames(signal(n_samples, seed, gaps=False), info, rows=50, session=session)
    return [frame_message(TOPICS, frame) for frame in sent], described(info, session)


def marks_of(description: StreamDescription, *times: float) -> list[Message]:
    """Return messages of markers."""
    return [
        marker_message(TOPICS, Marker(time, f"m{k}", "marks"), stream=description.stream, k=k,
                       session=description.session)
        for k, time in enumerate(times)
    ]  # fmt: skip


def of_type(memory: Memory, kind: str) -> list[dict[str, Any]]:
    """Return the events of a type, in the order of their samples."""
    events = [json.loads(line) for lines in memory.events.values() for line in lines]
    return sorted(
        (event for event in events if event["type"] == kind), key=lambda event: (event["sample"], event["id"])
    )


def test_a_hole_in_the_offsets_is_believed_when_the_same_message_comes_first_again() -> None:
    samples, description = one_stream()
    memory = Memory(samples, [])

    async def with_messages_under_way() -> None:
        runtime = runtime_on(memory, {description.stream: description}, False)
        for offset in (0, 1, 2, 6, 7, 8, *range(3, len(samples))):
            await runtime.take(memory.samples[offset])
        assert runtime.partitions[0].take_counts().lost == 0
        assert runtime.counts.frames == len(samples)
        again = runtime_on(memory, {description.stream: description}, False)
        for offset in (0, 1, 6, 6, 7):
            await again.take(memory.samples[offset])
        assert again.partitions[0].next_offset == 8

    asyncio.run(with_messages_under_way())
    assert memory.sought == [3, 3, 3, 2]
    assert [event["what"] for event in of_type(memory, "stream")] == ["start"]


def test_the_markers_of_a_session_are_read_before_a_new_one_ends_it() -> None:
    first, description = one_stream(600)
    second, _ = one_stream(600, session=2, seed=2)
    memory = Memory([*first[:-1], *second], [])
    end = len(first) - 1

    async def marked_late() -> None:
        runtime = runtime_on(memory, {description.stream: description}, False)
        for record in memory.samples:
            if record.offset == end:
                memory.markers += [record_of(0, message) for message in marks_of(description, 1001.0)]
            await runtime.take(record)

    asyncio.run(marked_late())
    assert [event["sample"] for event in of_type(memory, "marker")] == [250]


def test_the_markers_are_read_before_an_end_that_waited_for_rows() -> None:
    sent, description = one_stream(600)
    memory = Memory([*sent[:5], *sent[6:], sent[5]], [])

    async def marked_late() -> None:
        runtime = runtime_on(memory, {description.stream: description}, False)
        for record in memory.samples:
            if record.offset == len(sent) - 1:
                memory.markers += [record_of(0, message) for message in marks_of(description, 1002.0)]
            await runtime.take(record)

    asyncio.run(marked_late())
    assert [event["sample"] for event in of_type(memory, "marker")] == [500]


def test_a_marker_that_waits_for_its_session_is_in_no_snapshot() -> None:
    sent, description = one_stream(600)
    later = replace(description, session=9)
    marks = [*marks_of(later, 1000.5), *marks_of(replace(description, stream="nobody"), 1000.5)]
    memory = Memory(sent, marks)

    async def offset_of_the_markers() -> int:
        runtime = runtime_on(memory, {description.stream: description}, False)
        for record in memory.samples[:3]:
            await runtime.take(record)
        feed = runtime._clients.markers
        assert feed is not None
        feed.hand_over(runtime.partitions[0], description.stream)
        return feed.offset(0)

    assert asyncio.run(offset_of_the_markers()) == 0


def test_messages_that_expired_before_a_window_could_be_filled_again_are_a_stated_loss() -> None:
    sent, description = one_stream(4000)
    memory = Memory(sent, [])

    async def until(n: int) -> None:
        runtime = runtime_on(memory, {description.stream: description}, True)
        for record in memory.samples[max(memory.oldest, memory.committed or 0) : n]:
            await runtime.take(record)
            if record.offset % 5 == 4:
                await runtime.checkpoint()
        await runtime.release()

    asyncio.run(until(60))
    assert memory.committed is not None
    assert memory.committed < 60
    said = {key: set(lines) for key, lines in memory.events.items()}
    memory.oldest = 64
    asyncio.run(until(len(sent)))
    stated = of_type(memory, "stream")
    assert [event["what"] for event in stated] == ["start", "start", "state_lost", "rows_lost"]
    assert (stated[3]["first_missing"], stated[3]["missing"]) == (60 * 50, 4 * 50)
    assert memory.committed == len(sent)
    first_new = min(json.loads(line)["sample"] for line in memory.events[b"id-eeg"] - said[b"id-eeg"])
    assert first_new == 60 * 50
    identities = [json.loads(line)["id"] for line in memory.events[b"id-eeg"]]
    assert len(set(identities)) == len(identities)


def test_a_worker_that_was_replaced_does_not_forget_for_its_successor() -> None:
    sent, description = one_stream(600)
    memory = Memory(sent, [])
    forgetful = WorkerSettings(forget_s=0.0)

    async def replaced(loses_commits: bool) -> None:
        runtime = runtime_on(memory, {description.stream: description}, False, settings=forgetful)
        for record in memory.samples[memory.committed or 0 :]:
            await runtime.take(record)
        await runtime.checkpoint()
        memory.loses_commits = loses_commits
        await runtime.checkpoint()

    asyncio.run(replaced(True))
    assert [record.value is None for record in memory.changelog] == [False]
    memory.loses_commits, memory.committed = False, None
    asyncio.run(replaced(False))
    assert memory.changelog[-1].value is None


def test_messages_that_are_no_markers_are_counted_and_do_no_harm() -> None:
    sent, description = one_stream(600)
    (good,) = marks_of(description, 1000.5)
    nameless = good._replace(headers=(("ce_id", cast(bytes, None)),))
    memory = Memory(sent, [good._replace(value=b"noise"), nameless, good])

    async def all_of_it() -> int:
        runtime = runtime_on(memory, {description.stream: description}, False)
        for record in memory.samples:
            await runtime.take(record)
        return runtime.counts.markers_unreadable

    assert asyncio.run(all_of_it()) == 2
    assert [event["sample"] for event in of_type(memory, "marker")] == [125]
