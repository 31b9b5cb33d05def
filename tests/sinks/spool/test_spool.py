"""The spool: order and books over restarts, kill -9, torn ends, damaged files, full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.errors import ConfigError
from neuroloop.sinks.kafka.kept_messages import MESSAGES
from neuroloop.sinks.spool.segments import Segment
from neuroloop.sinks.spool.spool import Spool
from neuroloop.stream.wire.messages import Message

ROOT = Path(__file__).resolve().parents[3]
ALL = 1 << 30
spool_in = partial(Spool[Message], form=MESSAGES, section="kafka")


def message(number: int, n_bytes: int = 100) -> Message:
    return Message("topic", b"key", str(number).encode().ljust(n_bytes), (("ce_id", b"x"), ("e", b"")), number or None)


def number_of(taken: tuple[int, Message] | None) -> int:
    assert taken is not None
    return int(taken[1].value)


def drained(spool: Spool[Message]) -> list[int]:
    numbers = []
    while (taken := spool.take()) is not None:
        numbers.append(int(taken[1].value))
        spool.done(taken[0])
    return numbers


def test_messages_come_out_whole_and_in_order(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    sent = [message(number, 10 * number + 8) for number in range(20)]
    for one in sent:
        spool.put(one)
    got = []
    while (taken := spool.take()) is not None:
        got.append(taken[1])
    assert got == sent
    spool.close()


def test_what_has_not_arrived_comes_again_after_a_restart(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(10):
        spool.put(message(number))
    for number in range(4):
        taken = spool.take()
        assert taken is not None
        assert number_of(taken) == number
        if number != 2:
            spool.done(taken[0])
    spool.close()
    spool.close()
    again = spool_in(tmp_path, ALL)
    assert again.n_waiting == 8
    assert drained(again) == list(range(2, 10))  # 3 had arrived: sent twice rather than lost
    assert again.n_waiting == 0
    again.close()
    empty = spool_in(tmp_path, ALL)
    assert (empty.n_waiting, empty.take()) == (0, None)
    empty.put(message(99))
    assert drained(empty) == [99]
    empty.close()


def test_a_torn_end_is_cut_off_and_counted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(3):
        spool.put(message(number))
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-5])
    again = spool_in(tmp_path, ALL)
    assert again.dropped == Counter({"damaged": 1})
    assert again.n_cut_bytes > 100
    again.put(message(7))
    assert drained(again) == [0, 1, 7]
    again.close()


def change(folder: Path, how: Callable[[bytearray, list[int]], object], n_messages: int = 5) -> None:
    """Fill a spool, close it, and change the bytes of its one file, given where each record begins."""
    spool = spool_in(folder, ALL)
    for number in range(n_messages):
        spool.put(message(number))
    spool.close()
    (path,) = folder.glob("*.spool")
    raw = bytearray(path.read_bytes())
    how(raw, [begin for begin, _ in MESSAGES.whole_records(bytes(raw))])
    path.write_bytes(raw)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_costs_its_record_and_no_other(at: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hit: list[int] = []

        def damage(raw: bytearray, begins: list[int]) -> None:
            if raw[at % len(raw)] != value:
                hit.append(sum(begin <= at % len(raw) for begin in begins) - 1)
            raw[at % len(raw)] = value

        change(Path(folder), damage)
        again = spool_in(Path(folder), ALL)
        n_found = again.n_waiting + again.dropped.total()
        assert drained(again) == [number for number in range(5) if number not in hit]
        assert again.dropped["damaged"] == n_found - 5 + len(hit)
        assert n_found == 5 or hit == [4]  # a last record may look like one that is damaged and one that is torn
        again.close()


def test_damaged_records_are_counted_and_their_file_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def damage(raw: bytearray, begins: list[int]) -> None:
        for number in (1, 2):
            raw[begins[number] + 50] ^= 1

    change(tmp_path, damage)
    (path,) = tmp_path.glob("*.spool")
    before = path.read_bytes()
    again = spool_in(tmp_path, ALL, clock=iter(range(100)).__next__)
    again.put(message(5))
    assert (again.n_waiting, again.dropped, again.n_cut_bytes) == (4, Counter({"damaged": 2}), 0)
    assert drained(again) == [0, 3, 4, 5]
    again.tick()
    assert again.dropped == Counter({"damaged": 2})
    assert path.with_suffix(".damaged").read_bytes() == before
    assert [one for one in caplog.messages if "000000000001.spool" in one] == [
        "kafka: the spool file 000000000001.spool is damaged, 2 messages of it are lost; it is kept as "
        "000000000001.damaged"
    ]
    again.close()
    last = spool_in(tmp_path, ALL)
    assert (last.n_waiting, last.dropped) == (0, Counter())
    last.close()


@pytest.mark.parametrize(
    "length", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\0", b"\x1d\0\0\0"],
    ids=["absurd", "zero", "behind the end", "too short"],
)  # fmt: skip
def test_a_damaged_length_costs_its_record_and_no_other(tmp_path: Path, length: bytes) -> None:
    def damage(raw: bytearray, begins: list[int]) -> None:
        raw[begins[2] : begins[2] + 4] = length

    change(tmp_path, damage)
    again = spool_in(tmp_path, ALL)
    assert (again.n_waiting, again.dropped) == (4, Counter({"damaged": 1}))
    assert drained(again) == [0, 1, 3, 4]
    again.close()


def test_an_end_that_is_no_record_is_neither_cut_off_nor_in_the_way(tmp_path: Path) -> None:
    change(tmp_path, lambda raw, _: raw.extend(b"\xff" * 300))
    (path,) = tmp_path.glob("*.spool")
    before = path.read_bytes()
    again = spool_in(tmp_path, ALL)
    again.put(message(5))
    assert drained(again) == [0, 1, 2, 3, 4, 5]
    assert (again.dropped, again.n_cut_bytes, path.read_bytes()) == (Counter({"damaged": 1}), 0, before)
    again.close()


def test_zeros_that_a_power_cut_leaves_are_a_torn_end(tmp_path: Path) -> None:
    change(tmp_path, lambda raw, _: raw.extend(bytes(4096)))
    again = spool_in(tmp_path, ALL)
    assert (again.dropped, again.n_cut_bytes) == (Counter({"damaged": 1}), 4096)
    assert drained(again) == [0, 1, 2, 3, 4]
    again.close()
    last = spool_in(tmp_path, ALL)
    assert last.dropped == Counter()
    last.close()


def test_what_is_damaged_under_a_running_process_is_stepped_over_and_counted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(5):
        spool.put(message(number))
    (path,) = tmp_path.glob("*.spool")
    begins = [begin for begin, _ in MESSAGES.whole_records(path.read_bytes())]
    with path.open("r+b") as file:
        for at in (begins[1] + 60, begins[2] + 1):
            file.seek(at)
            file.write(b"\xff")
    assert drained(spool) == [0, 3, 4]
    assert (spool.n_waiting, spool.dropped) == (0, Counter({"damaged": 2}))
    spool.close()


def test_a_cursor_behind_the_end_of_its_file_skips_nothing_new(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(6):
        spool.put(message(number))
    assert drained(spool) == list(range(6))
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    os.truncate(path, 2 * len(path.read_bytes()) // 6)  # the disk had less of it than of the cursor
    again = spool_in(tmp_path, ALL)
    assert (again.n_waiting, again.take()) == (0, None)
    for number in range(6, 9):
        again.put(message(number))
    assert again.take() is not None
    (killed := tmp_path / "killed").mkdir()  # what a process killed now leaves
    for one in tmp_path.glob("*.*"):
        (killed / one.name).write_bytes(one.read_bytes())
    again.close()
    last = spool_in(killed, ALL)
    assert drained(last) == [6, 7, 8]
    last.close()


def test_what_arrived_out_of_turn_is_not_sent_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(5):
        spool.put(message(number))
    numbers = []
    for _ in range(4):
        taken = spool.take()
        assert taken is not None
        numbers.append(taken[0])
    spool.done(numbers[1])
    spool.done(numbers[3])
    assert spool.rewind() == 2
    assert spool.n_waiting == 3
    taken = spool.take()
    assert number_of(taken) == 0
    assert taken is not None
    spool.put_back(taken[0])
    assert drained(spool) == [0, 2, 4]
    spool.close()


def open_files(folder: Path) -> int:
    paths = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            paths.append(descriptor.readlink())
        except FileNotFoundError:  # the one that lists them
            continue
    return sum(path.parent == folder for path in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_few_files_are_open_however_many_there_are(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 500_000, clock=iter(range(10_000)).__next__)
    spool._segment_bytes = 4096
    for number in range(100):
        spool.put(message(number, 4000))
    assert len(list(tmp_path.glob("*.spool"))) > 90
    assert open_files(tmp_path) <= 2  # the lock and the newest
    assert number_of(spool.take()) == 100 - spool.n_waiting
    spool.tick()
    assert open_files(tmp_path) <= 3  # and the oldest
    spool.close()
    again = spool_in(tmp_path, 500_000)
    assert again.n_waiting > 90
    assert open_files(tmp_path) == 1
    assert len(drained(again)) > 90
    assert open_files(tmp_path) <= 2
    again.close()
    assert open_files(tmp_path) == 0


def test_a_reader_without_descriptors_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = spool_in(tmp_path, ALL)
    spool.put(message(0))
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> bytes:
            raise OSError(errno.EMFILE, "Too many open files")

        patch.setattr(Segment, "record_at", refuse)
        assert spool.take() is None
        assert spool.take() is None
        assert spool.n_waiting == 1
    assert caplog.messages == ["kafka: the spool cannot be read (Too many open files): what it holds waits"]
    assert drained(spool) == [0]
    spool.close()


def test_a_file_that_somebody_removed_is_counted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    for number in range(3):
        spool.put(message(number))
    spool.close()
    again = spool_in(tmp_path, ALL)
    again.put(message(3))
    (tmp_path / "000000000001.spool").unlink()
    assert drained(again) == [3]
    assert (again.n_waiting, again.dropped) == (0, Counter({"damaged": 3}))
    again.close()


def test_segments_that_have_arrived_are_deleted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 64 * 1024, clock=iter(range(10_000)).__next__)
    for number in range(60):
        spool.put(message(number, 1000))
    assert len(list(tmp_path.glob("*.spool"))) > 5
    assert drained(spool) == list(range(60))
    spool.tick()
    assert len(list(tmp_path.glob("*.spool"))) == 1
    spool.close()


def test_a_full_spool_drops_its_oldest_segment_and_counts_it(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 40_000)
    for number in range(60):
        spool.put(message(number, 1000))
    assert spool.n_bytes <= 40_000
    n_dropped = spool.dropped["spool full"]
    assert n_dropped > 20
    assert spool.n_waiting == 60 - n_dropped
    assert drained(spool) == list(range(n_dropped, 60))
    spool.close()


def test_a_full_spool_refuses_what_comes_under_drop_newest(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 40_000, "drop_newest")
    for number in range(60):
        spool.put(message(number, 1000))
    n_dropped = spool.dropped["spool full"]
    assert 20 < n_dropped < 30
    assert drained(spool) == list(range(60 - n_dropped))
    spool.put(message(77))
    assert drained(spool) == [77]
    spool.close()


def test_who_puts_waits_for_no_reading_of_what_is_dropped(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []
    spool = spool_in(tmp_path, 40_000, on_dropped=lambda one, reason: told.append((int(one.value), reason)))
    spool.put(message(0, 1000))
    assert spool.take() is not None
    for number in range(1, 42):
        spool.put(message(number, 1000))
    n_dropped = spool.dropped["spool full"]
    assert n_dropped > 0
    assert told == []
    spool.tick()
    assert told == [(number, "spool full") for number in range(1, n_dropped + 1)]
    for number in range(42, 60):
        spool.put(message(number, 1000))
    spool.close()
    assert len(told) == spool.dropped["spool full"] > n_dropped
    spool.tick()
    assert len(told) == spool.dropped["spool full"]


def test_what_is_on_its_way_from_a_dropped_segment_is_sent_again_when_it_fails(tmp_path: Path) -> None:
    told: list[int] = []
    spool = spool_in(tmp_path, 40_000, on_dropped=lambda one, _: told.append(int(one.value)))
    spool.put(message(0, 1000))
    assert spool.take() is not None
    for number in range(1, 60):
        spool.put(message(number, 1000))
    n_dropped = spool.dropped["spool full"]
    assert spool.n_waiting == 60 - n_dropped
    assert spool.rewind() == 1
    assert number_of(spool.take()) == 0
    spool.close()
    assert spool.n_waiting == 60 - n_dropped - 1  # the next process does not find it any more
    assert spool.dropped == Counter({"spool full": n_dropped + 1})
    assert sorted(told) == list(range(n_dropped + 1))
    again = spool_in(tmp_path, 40_000)
    assert drained(again) == list(range(n_dropped + 1, 60))
    again.close()


def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    with pytest.raises(ConfigError, match=r"kafka.spool_dir must be used by one process at a time, got .* another"):
        spool_in(tmp_path, ALL)
    spool.close()


def test_a_system_without_file_locks_is_refused_but_may_import_this(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
sys.modules["fcntl"] = None
from neuroloop.sinks.kafka.producer import MESSAGES, Spool
Spool(Path(sys.argv[1]), 1000, form=MESSAGES, section="kafka")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    words = "kafka.overflow must be drop_oldest or drop_newest where files cannot be locked, got 'spool' on "
    assert f"ConfigError: {words}{sys.platform}" in done.stderr


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"kafka.spool_dir must be a folder to write in, got .*: (Not a dir|File ex)"):
        spool_in(tmp_path / "file" / "spool", ALL)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_the_message_and_counts_it(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, ALL)
    spool.put(message(0))
    (segment,) = spool._segments.values()
    full = os.open("/dev/full", os.O_RDWR)
    kept = os.dup(segment.descriptor)
    os.dup2(full, segment.descriptor)
    spool.put(message(1))
    assert spool.dropped == Counter({"disk": 1})
    os.dup2(kept, segment.descriptor)
    spool.put(message(2))
    assert drained(spool) == [0, 2]
    for descriptor in (full, kept):
        os.close(descriptor)
    spool.close()


CHILD = """
import sys
from pathlib import Path
from neuroloop.sinks.kafka.kept_messages import MESSAGES
from neuroloop.sinks.spool.spool import Spool
from neuroloop.stream.wire.messages import Message
spool = Spool(Path(sys.argv[1]), 1 << 30, form=MESSAGES, section="kafka")
number = 0
while True:
    spool.put(Message("t", b"k", str(number).encode().ljust(4000), (), None))
    print(number, flush=True)
    number += 1
"""


def test_kill_minus_nine_loses_nothing_that_was_put(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        said = -1
        while said < 300:
            said = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
    spool = spool_in(tmp_path, ALL)
    got = drained(spool)
    assert got == list(range(len(got)))
    assert len(got) - said in (1, 2)
    spool.close()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "put", "take", "take", "done", "back", "rewind", "tick", "restart"]),
                  st.integers(0, 9)),
        max_size=80,
    ),
    policy=st.sampled_from(["drop_oldest", "drop_newest"]),
)  # fmt: skip
def test_every_message_is_waiting_done_or_counted(steps: list[tuple[str, int]], policy: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = iter(range(10_000)).__next__
        told: list[int] = []

        def opened() -> Spool[Message]:
            return spool_in(
                Path(folder), 12_000, policy,  # type: ignore[arg-type]
                on_dropped=lambda one, _: told.append(int(one.value)), clock=clock,
            )  # fmt: skip

        spool = opened()
        n_put = n_dropped = 0
        on_way: list[tuple[int, int]] = []
        seen: set[int] = set()
        n_offered, n_done = 0, 0
        for step, choice in steps:
            if step == "put":
                spool.put(message(n_put, 1000))
                n_put += 1
                n_offered += 1
            elif step == "take" and (taken := spool.take()) is not None:
                on_way.append((taken[0], int(taken[1].value)))
                assert [value for _, value in on_way] == sorted(value for _, value in on_way)
            elif step == "done" and on_way:
                number, value = on_way.pop(choice % len(on_way))  # answers come in any order
                spool.done(number)
                seen.add(value)
                n_done += 1
            elif step == "back" and on_way:
                spool.put_back(on_way.pop()[0])
            elif step == "rewind":
                assert spool.rewind() == len(on_way)
                on_way.clear()
            elif step == "tick":
                spool.tick()
            elif step == "restart":
                on_way.clear()
                spool.close()
                assert n_offered == n_done + spool.n_waiting + spool.dropped.total()
                n_dropped += spool.dropped["spool full"]
                n_left, spool = spool.n_waiting, opened()
                assert spool.dropped == Counter()
                assert spool.n_waiting >= n_left  # what arrived out of turn comes twice
                n_offered, n_done = spool.n_waiting, 0
            assert n_offered == n_done + spool.n_waiting + spool.dropped.total()
        spool.rewind()
        seen.update(drained(spool))
        spool.close()
        n_dropped += spool.dropped["spool full"]
        assert len(told) == n_dropped
        assert seen | set(told) == set(range(n_put))
        assert not n_dropped or n_put > 8
