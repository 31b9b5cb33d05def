from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import Chunk, make_chunk
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.header import HEAD, LIMIT
from neuroloop.stream.ring.samples import SampleRing
from tests.stream.ring.signals import INFO, assert_whole, has_ended, numbered_chunk

APPEND = st.tuples(st.just("append"), st.integers(0, 14), st.sampled_from([0, 0, 0, 1, 40]))
READ = st.tuples(st.just("read"), st.integers(1, 12), st.just(0))
COMMIT = st.tuples(st.just("commit"), st.just(0), st.just(0))
RESTART = st.tuples(st.sampled_from(["restart reader", "restart writer"]), st.just(0), st.just(0))


@settings(max_examples=100, deadline=None)
@given(capacity=st.integers(1, 9), steps=st.lists(st.one_of(APPEND, APPEND, READ, READ, COMMIT, RESTART), max_size=30))
def test_reader_gets_what_a_list_would_give(capacity: int, steps: list[tuple[str, int, int]]) -> None:
    written: list[int] = []  # the model: sample numbers of all rows ever
    position = committed = lost = lost_committed = 0
    with SampleRing.private(INFO, capacity, readers=("r",)) as ring:
        writer, reader = ring.writer(), ring.reader("r")
        for step, count, jump in steps:
            if step == "append":
                first = writer.head + jump
                writer.append(numbered_chunk(first, count), arrival_ns=first)
                written.extend(range(first, first + count))
                assert writer.head == (written[-1] + 1 if written else 0)
            elif step == "read":
                oldest = max(position, len(written) - capacity, 0)
                expected = written[oldest : oldest + count]
                while expected and expected[-1] - expected[0] != len(expected) - 1:
                    expected.pop()
                rows = reader.read(count)
                assert_whole(rows)
                assert list(rows.chunk.data[:, 0]) == expected
                assert rows.n_lost == oldest - position
                lost += rows.n_lost
                position = oldest + len(expected)
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
            assert reader.n_lost == lost
            assert reader.n_delivered + reader.n_lost == position


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(1, 9),
    appends=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 0, 0, 5])), min_size=1, max_size=12),
    data=st.data(),
)
def test_windows_are_contiguous_views_of_what_was_appended(
    capacity: int, appends: list[tuple[int, int]], data: st.DataObject
) -> None:
    written: list[int] = []
    with SampleRing.private(INFO, capacity) as ring, ring.writer() as writer:
        for count, jump in appends:
            writer.append(numbered_chunk(writer.head + jump, count))
            written.extend(range(writer.head - count, writer.head))
        n_samples = data.draw(st.integers(1, capacity))
        newest = data.draw(st.integers(max(0, writer.head - 20), writer.head + 1))
        wanted = list(range(newest - n_samples + 1, newest + 1))
        if set(wanted) <= set(written[-capacity:]):
            window = writer.window(newest, n_samples)
            assert list(window.data[:, 0]) == wanted
            assert list(window.timestamps) == [number / 1000.0 for number in wanted]
            assert list(window.valid) == [number % 3 != 0 for number in wanted]
            assert window.first_sample == wanted[0]
            for array in (window.data, window.timestamps, window.valid):
                assert array.flags.c_contiguous
                assert not array.flags.writeable
                assert not array.flags.owndata
            del window, array
        else:
            with pytest.raises(ValueError, match=f"newest must be the last of {n_samples} rows without a jump"):
                writer.window(newest, n_samples)


def test_empty_chunk_leaves_the_ring_untouched() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 3))
        writer.append(numbered_chunk(77, 0))
        assert writer.head == 3
        assert list(reader.read(10).chunk.data[:, 0]) == [0, 1, 2]
        nothing = reader.read(10)
        assert (len(nothing.chunk), nothing.chunk.first_sample, nothing.n_lost) == (0, 3, 0)


def test_appending_does_not_change_the_chunk() -> None:
    chunk = numbered_chunk(0, 5)
    with SampleRing.private(INFO, 3) as ring, ring.writer() as writer:
        writer.append(chunk)
    np.testing.assert_array_equal(chunk.data, numbered_chunk(0, 5).data)


def test_rows_end_at_a_jump_and_no_loss_is_counted() -> None:
    with SampleRing.private(INFO, 100, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 4))
        writer.append(numbered_chunk(1000, 4))
        before, behind = reader.read(100), reader.read(100)
        assert (before.chunk.next_sample, behind.chunk.first_sample) == (4, 1000)
        assert reader.n_lost == 0


def test_arrival_times_travel_with_their_rows() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 1), arrival_ns=11)
        writer.append(numbered_chunk(1, 2), arrival_ns=12)
        assert list(reader.read(10).arrival_ns) == [11, 12, 12]


def test_what_a_reader_got_is_its_own_and_read_only() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 4))
        rows = reader.read(4)
        writer.append(numbered_chunk(4, 4))
        assert_whole(rows)
        with pytest.raises(ValueError, match="read-only"):
            rows.chunk.data[0, 0] = 1.0


class _InterruptedColumn:
    """A column in which the writer strikes between two copies."""

    def __init__(self, column: NDArray[Any], strike: Any) -> None:
        self._column = column
        self._strike = strike

    def __getitem__(self, rows: slice) -> _InterruptedColumn:
        return _InterruptedColumn(self._column[rows], self._strike)

    def copy(self) -> NDArray[Any]:
        self._strike()
        return self._column.copy()


@pytest.mark.parametrize(("n_struck", "expected"), [(2, [2, 3, 4, 5]), (5, [5]), (6, []), (20, [])])
def test_rows_overwritten_while_they_are_copied_are_counted_and_not_returned(
    n_struck: int, expected: list[int]
) -> None:
    with SampleRing.private(INFO, 6, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 6))
        whole = list(reader._columns)
        # the first copy (data) is made before the writer strikes, all others after it
        struck = _InterruptedColumn(whole[1], lambda: writer.append(numbered_chunk(6, n_struck)))
        reader._columns[1] = struck  # type: ignore[call-overload]
        rows = reader.read(10)
        reader._columns[:] = whole
        assert_whole(rows)
        assert list(rows.chunk.data[:, 0]) == expected
        assert rows.n_lost == 6 - len(expected)
        n_rest = 0
        while len(more := reader.read(10).chunk):
            n_rest += len(more)
        assert reader.n_delivered + reader.n_lost == 6 + n_struck
        assert n_rest == min(n_struck, 6)


def test_rows_that_a_dead_writer_was_overwriting_are_counted_as_lost() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.reader("r") as reader:
        writer = ring.writer()
        writer.append(numbered_chunk(0, 4))
        ring.header.words[LIMIT] = 3  # as left behind by a writer killed while it put three rows in
        rows = reader.read(10)
        assert (list(rows.chunk.data[:, 0]), rows.n_lost) == ([3.0], 3)
        writer.close()
        assert has_ended(reader)


def test_books_balance_where_a_dead_writer_was_overwriting_everything() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.reader("r") as reader:
        writer = ring.writer()
        writer.append(numbered_chunk(0, 4))
        ring.header.words[LIMIT] = 50
        writer.close()
        assert not has_ended(reader)
        assert (len(reader.read(10).chunk), reader.n_lost) == (0, 4)
        assert has_ended(reader)
        with ring.writer() as successor:
            assert successor.head == 4
            with pytest.raises(ValueError, match="newest must be"):
                successor.window(3, 1)
            successor.append(numbered_chunk(4, 60))
            assert list(reader.read(10).chunk.data[:, 0]) == [60, 61, 62, 63]
            assert ring.header.words[HEAD] == reader.n_delivered + reader.n_lost == 64


def test_rows_that_a_dead_writer_did_not_publish_never_were() -> None:
    with SampleRing.private(INFO, 8, readers=("r",)) as ring, ring.reader("r") as reader:
        with ring.writer() as writer:
            writer.append(numbered_chunk(10, 3))
            writer.append(numbered_chunk(13, 2))
        ring.header.words[HEAD] = 3  # as if killed before the last store
        with ring.writer() as successor:
            assert successor.head == 13
            successor.append(numbered_chunk(13, 1))
        assert list(reader.read(10).chunk.data[:, 0]) == [10, 11, 12, 13]


def test_reader_sees_the_end_only_after_the_last_row() -> None:
    with SampleRing.private(INFO, 10, readers=("r",)) as ring, ring.reader("r") as reader:
        assert not has_ended(reader)
        with ring.writer() as writer:
            writer.append(numbered_chunk(0, 3))
        assert not has_ended(reader)
        reader.read(10)
        assert has_ended(reader)


def test_status_tells_how_far_each_reader_is() -> None:
    with SampleRing.private(INFO, 10, readers=("fast", "slow")) as ring, ring.writer() as writer:
        with ring.reader("fast") as fast:
            writer.append(numbered_chunk(0, 8))
            fast.read(5)
            fast.commit()
            status = ring.status()
            assert (status["fast"].n_behind, status["fast"].n_delivered, status["fast"].is_alive) == (3, 5, True)
            assert (status["slow"].n_behind, status["slow"].n_lost, status["slow"].is_alive) == (8, 0, False)
        assert not ring.status()["fast"].is_alive


def test_a_role_has_one_holder() -> None:
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer(), ring.reader("r"):
        with pytest.raises(RuntimeError, match="writer must be free, got process"):
            ring.writer()
        with pytest.raises(RuntimeError, match="reader 'r' must be free, got process"):
            ring.reader("r")


def test_close_may_be_called_twice() -> None:
    ring = SampleRing.private(INFO, 4, readers=("r",))
    reader = ring.reader("r")
    assert reader.info is INFO
    reader.close()
    ring.close()
    reader.close()
    ring.close()


def test_views_outlive_the_ring() -> None:
    with SampleRing.private(INFO, 4) as ring:
        writer = ring.writer()
        writer.append(numbered_chunk(0, 4))
        window = writer.window(3, 2)
    assert list(window.data[:, 0]) == [2, 3]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1 row, got 0"):
        SampleRing.private(INFO, 0)
    with pytest.raises(ValueError, match=r"readers must be distinct names, got \['a', 'a'\]"):
        SampleRing.private(INFO, 4, readers=("a", "a"))
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 2))
        with pytest.raises(ValueError, match="first_sample must be at least head=2, got 1"):
            writer.append(numbered_chunk(1, 2))
        wide = make_chunk(np.zeros((2, 3)), np.zeros(2), 2, np.ones(2, np.bool_), INFO)
        with pytest.raises(ValueError, match=r"chunk must have data of shape \(2, 2\).*got \(2, 3\)"):
            writer.append(wide)
        flags = Chunk(np.zeros((2, 2)), np.zeros(2), 2, np.ones(1, np.bool_), INFO)
        with pytest.raises(ValueError, match=r"as many flags, got \(2, 2\) and \(1,\)"):
            writer.append(flags)
        assert writer.head == 2
        with pytest.raises(ValueError, match=r"n_samples must be in \[1, capacity=4\], got 5"):
            writer.window(1, 5)
        with pytest.raises(ValueError, match="max_samples must be at least 1, got 0"):
            reader.read(0)
        with pytest.raises(ValueError, match=r"reader must be one of \['r'\], got 'other'"):
            ring.reader("other")
        with pytest.raises(RuntimeError, match=r"bell must be given .* got None"):
            reader.wait(0.0)


def test_ring_is_handed_over_only_while_a_process_is_spawned() -> None:
    with (
        Bell() as bell,
        SampleRing.shared(INFO, 4, bell=bell, readers=("r",)) as ring,
        pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"),
    ):
        pickle.dumps(ring)
