"""The queue in memory: order, room, and books."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.sinks.kafka.kept_messages import size_of
from neuroloop.sinks.spool.waiting import MemoryQueue
from neuroloop.stream.wire.messages import Message


def message(number: int, n_bytes: int = 100) -> Message:
    return Message("t", b"k", str(number).encode().ljust(n_bytes), (("h", b"v"),), number)


def number_of(taken: tuple[int, Message] | None) -> int:
    assert taken is not None
    return int(taken[1].value)


queue_of = partial(MemoryQueue[Message], size_of=size_of)
ROOM = size_of(message(0)) * 3


def test_messages_come_out_in_order() -> None:
    queue = queue_of(10_000, "drop_oldest")
    for number in range(5):
        queue.put(message(number))
    assert [number_of(queue.take()) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert queue.take() is None
    assert queue.n_waiting == 5  # on their way


def test_the_oldest_go_first_under_drop_oldest() -> None:
    queue = queue_of(ROOM, "drop_oldest")
    for number in range(5):
        queue.put(message(number))
    assert [number_of(queue.take()) for _ in range(3)] == [2, 3, 4]
    assert queue.dropped == Counter({"buffer full": 2})


def test_the_newest_are_refused_under_drop_newest() -> None:
    queue = queue_of(ROOM, "drop_newest")
    for number in range(5):
        queue.put(message(number))
    assert [number_of(queue.take()) for _ in range(3)] == [0, 1, 2]
    assert queue.dropped == Counter({"buffer full": 2})


def test_messages_on_their_way_are_never_dropped() -> None:
    queue = queue_of(ROOM, "drop_oldest")
    for number in range(3):
        queue.put(message(number))
        queue.take()
    queue.put(message(9))
    assert queue.take() is None
    assert queue.rewind() == 3
    assert [number_of(queue.take()) for _ in range(3)] == [0, 1, 2]


def test_what_was_rewound_comes_again_in_order_before_the_rest() -> None:
    queue = queue_of(10_000, "drop_oldest")
    for number in range(5):
        queue.put(message(number))
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    queue.done(first[0])
    assert queue.rewind() == 1
    assert [number_of(queue.take()) for _ in range(4)] == [1, 2, 3, 4]


def test_what_was_put_back_comes_next() -> None:
    queue = queue_of(10_000, "drop_oldest")
    queue.put(message(0))
    queue.put(message(1))
    taken = queue.take()
    assert taken is not None
    queue.put_back(taken[0])
    assert number_of(queue.take()) == 0


def test_the_end_counts_what_never_left() -> None:
    queue = queue_of(10_000, "drop_oldest")
    queue.put(message(0))
    queue.put(message(1))
    queue.take()
    queue.close()
    assert queue.dropped == Counter({"closed": 2})
    assert (queue.n_waiting, queue.n_bytes) == (0, 0)


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_bytes must be above 0, got 0"):
        queue_of(0, "drop_oldest")


@given(
    steps=st.lists(st.sampled_from(["put", "take", "done", "rewind", "big"]), max_size=80),
    policy=st.sampled_from(["drop_oldest", "drop_newest"]),
)
def test_every_message_is_waiting_done_or_counted(steps: list[str], policy: str) -> None:
    queue = queue_of(4000, policy)  # type: ignore[arg-type]
    n_put = n_done = 0
    on_way: list[int] = []
    for step in steps:
        if step in ("put", "big"):
            queue.put(message(n_put, 5000 if step == "big" else 100))
            n_put += 1
        elif step == "take" and (taken := queue.take()) is not None:
            on_way.append(taken[0])
        elif step == "done" and on_way:
            queue.done(on_way.pop(0))
            n_done += 1
        elif step == "rewind":
            assert queue.rewind() == len(on_way)
            on_way.clear()
        assert n_put == n_done + queue.n_waiting + queue.dropped.total()
        assert queue.n_bytes <= 4000
