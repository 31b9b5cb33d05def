"""What a group has agreed on: its pipeline, and the messages that are passed by."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import parse
from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.worker.control import Control, Place, place_from
from neuroloop.stream.worker.errors import WorkerError
from neuroloop.stream.worker.pipeline_hash import pipeline_hash
from tests.stream.worker.streams import WINDOWED
from tests.stream.worker.test_runtime import Memory, of_type, one_stream, record_of, runtime_on


def control_of(*records: tuple[str, bytes | None]) -> Control:
    made: list[Any] = []
    for offset, (key, value) in enumerate(records):
        one = record_of(offset, Message("g.control", key.encode(), b"", ()))
        one.value = value
        made.append(one)
    return Control(Memory([], []).reader(made))


@pytest.mark.parametrize("text", ["", "a", "a:1", "a:b:1", "a:1:-2", "a:1:²", ":1:2", "a:1:" + "9" * 20])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"skip must be TOPIC:PARTITION:OFFSET, got "):
        place_from(text)


def test_a_place_reads_back() -> None:
    assert place_from("t.samples:3:12") == Place("t.samples", 3, 12)
    assert str(Place("t.samples", 3, 12)) == "t.samples:3:12"


def test_a_message_that_is_passed_by_is_neither_processed_nor_buried_again() -> None:
    sent, description = one_stream(600)
    memory = Memory(sent, [])
    said = json.dumps({"by": "me@here", "reason": "it ends us"}).encode()
    control = control_of(("skip/t.samples/0/3", said), ("skip/t.samples/1/4", said), ("skip/t.samples/0/5", b"["))

    async def all_of_it() -> int:
        runtime = runtime_on(
            memory, {description.stream: description}, False, control=control, settings=WorkerSettings(reorder_frames=1)
        )
        for record in memory.samples:
            await runtime.take(record)
        await runtime.release()
        return runtime.counts.dead["Skipped"]

    assert asyncio.run(all_of_it()) == 1
    assert memory.dead == []
    assert memory.committed == len(sent)
    (lost,) = [event for event in of_type(memory, "stream") if event["what"] == "rows_lost"]
    assert (lost["first_missing"], lost["missing"]) == (150, 50)


def test_a_skip_that_was_taken_back_counts_no_more() -> None:
    control = control_of(("skip/t.samples/0/3", b"{}"), ("skip/t.samples/0/3", None))
    asyncio.run(control.catch_up())
    assert control.skipped("t.samples", 0, 3) is None


def test_a_partition_that_was_added_is_not_begun_with() -> None:
    sent, description = one_stream(600)
    memory = Memory(sent, [])

    async def moved() -> None:
        runtime = runtime_on(memory, {description.stream: description}, False, n_partitions=1)
        await runtime.take(memory.samples[0])
        memory.samples[1].partition = 1
        await runtime.take(memory.samples[1])

    rule = r"must have as many partitions as t.samples \(2\), and streams must not move between them, got 1"
    with pytest.raises(WorkerError, match=rule):
        asyncio.run(moved())


def test_the_hash_of_a_pipeline_follows_what_changes_numbers_and_nothing_else() -> None:
    first = parse({**WINDOWED, "kafka": {"bootstrap": "a:1"}, "worker": {"snapshot_s": 1}})
    same = parse({**WINDOWED, "kafka": {"bootstrap": "b:1"}, "description": "x", "worker": {"snapshot_s": 2}})
    source = parse({**WINDOWED, "source": {"kind": "simulator", "timing": "regular", "reset_after_s": 0.5}})
    stages = parse({**WINDOWED, "stages": WINDOWED["stages"][:-1]})  # type: ignore[index]
    assert pipeline_hash(first, None) == pipeline_hash(same, None)
    assert len({pipeline_hash(one, None) for one in (first, source, stages)}) == 3
