from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.stream.ring.event_reader import EventRingReader, room
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.header import HEAD, LIMIT, NEXT
from tests.stream.ring.signals import has_ended

APPEND = st.tuples(st.just("append"), st.integers(0, 48))
READ = st.tuples(st.just("read"), st.integers(1, 6))
OTHER = st.tuples(st.sampled_from(["commit", "restart reader", "restart writer"]), st.just(0))


def record(number: int, n_bytes: int) -> bytes:
    return bytes((number + i) % 251 for i in range(n_bytes))


@settings(max_examples=120, deadline=None)
@given(grains=st.integers(4, 12), steps=st.lists(st.one_of(APPEND, APPEND, READ, OTHER), max_size=40))
def test_reader_gets_what_a_list_would_give(grains: int, steps: list[tuple[str, int]]) -> None:
    held: deque[tuple[int, bytes]] = deque()  # the model: what has room, oldest first
    n_written = position = committed = lost = lost_committed = 0
    with EventRing.private(16 * grains, readers=("r",)) as ring:
        writer, reader = ring.writer(), ring.reader("r")
        for step, count in steps:
            if step == "append":
                text = record(n_written, count)
                assert writer.append(text) == n_written
                held.append((n_written, text))
                n_written += 1
                while sum(room(len(item)) for _, item in held) > 16 * grains:
                    held.popleft()
            elif step == "read":
                expected = [item for item in held if item[0] >= position][:count]
                got = reader.read(count)
                assert got.records == [text for _, text in expected]
                first = expected[0][0] if expected else position
                assert (got.first_sequence, got.n_lost) == (first, first - position)
                lost += got.n_lost
                position = first + len(expected)
            elif step == "commit":
                reader.commit()
                committed, lost_committed = position, lost
            elif step == "restart reader":
                reader.close()
                reader = ring.reader("r")
                position, lost = committed, lost_committed
            else:
                writer.close()
                writer = ring.writer()
            assert (reader.n_lost, reader.n_delivered) == (lost, position - lost)


def _strike_during_copy(reader: EventRingReader, strike: Callable[[], object]) -> None:
    """Let the writer act while the reader copies, once: some bytes are old, some new."""
    copy = reader._copy

    def struck(position: int, n_bytes: int) -> bytes:
        old = copy(position, n_bytes)
        reader._copy = copy  # type: ignore[method-assign]
        strike()
        new = copy(position, n_bytes)
        return old[:8] + new[8:]

    reader._copy = struck  # type: ignore[method-assign]


@pytest.mark.parametrize("n_struck", [1, 3, 4, 9])
def test_records_overwritten_while_they_are_copied_are_never_returned(n_struck: int) -> None:
    with EventRing.private(4 * 48, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        for number in range(4):
            writer.append(record(number, 32))
        _strike_during_copy(reader, lambda: [writer.append(record(number, 32)) for number in range(4, 4 + n_struck)])
        seen: list[bytes] = []
        lost = 0
        while reader.n_delivered + reader.n_lost < 4 + n_struck:
            got = reader.read(10)
            assert got.records == [record(got.first_sequence + i, 32) for i in range(len(got.records))]
            seen += got.records
            lost += got.n_lost
        assert lost == n_struck
        assert len(seen) == 4


def test_records_longer_than_a_copying_step_come_whole() -> None:
    texts = [record(number, n_bytes) for number, n_bytes in enumerate([200_000, 10, 70_000, 0, 65_536])]
    with EventRing.private(1 << 19, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        for text in texts:
            writer.append(text)
        seen: list[bytes] = []
        while not reader.is_ended and len(seen) < len(texts):
            seen += reader.read(2).records
        assert seen == texts


def test_a_record_may_fill_the_ring_and_not_more() -> None:
    with EventRing.private(64, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(b"gone")
        writer.append(b"x" * 48)
        with pytest.raises(ValueError, match="record must have at most 48 bytes, got 49"):
            writer.append(b"x" * 49)
        got = reader.read(10)
        assert (got.records, got.first_sequence, got.n_lost) == ([b"x" * 48], 1, 1)


def test_records_that_a_dead_writer_had_given_up_are_counted_as_lost() -> None:
    with EventRing.private(64, readers=("r",)) as ring, ring.reader("r") as reader:
        writer = ring.writer()
        writer.append(b"one")
        writer.append(b"two")
        ring.header.words[LIMIT] = ring.header.words[HEAD]  # killed before a record that fills the ring was in place
        assert reader.read(10).records == []  # the writer lives: the record may still come
        assert reader.n_lost == 0
        writer.close()
        assert not has_ended(reader)
        got = reader.read(10)
        assert (got.records, got.first_sequence, got.n_lost) == ([], 2, 2)
        assert has_ended(reader)
        with ring.writer() as successor:
            assert successor.append(b"three") == 2
            assert reader.read(10).records == [b"three"]
            assert ring.header.words[NEXT] == reader.n_delivered + reader.n_lost == 3


def test_status_tells_how_far_each_reader_is() -> None:
    with EventRing.private(1024, readers=("a", "b")) as ring, ring.writer() as writer, ring.reader("a") as reader:
        for _ in range(5):
            writer.append(b"record")
        reader.read(3)
        reader.commit()
        status = ring.status()
        assert (status["a"].n_behind, status["a"].n_delivered, status["a"].is_alive) == (2, 3, True)
        assert (status["b"].n_behind, status["b"].is_alive) == (5, False)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="capacity_bytes must be at least 32, got 31"):
        EventRing.private(31)
    with EventRing.private(50, readers=("r",)) as ring, ring.reader("r") as reader:
        assert ring.capacity_bytes == 64
        with pytest.raises(ValueError, match="max_records must be at least 1, got 0"):
            reader.read(0)
        with pytest.raises(RuntimeError, match=r"bell must be given .* got None"):
            reader.wait(0.0)
