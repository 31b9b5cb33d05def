"""The spool: order and books over restarts, kill -9, torn ends, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.kafka.spool import Spool
from stream.contracts.errors import ConfigError
from stream.contracts.messages import Message

ROOT = Path(__file__).resolve().parents[3]
ALL = 1 << 30


def message(number: int, n_bytes: int = 100) -> Message:
    return Message("topic", b"key", str(number).encode().ljust(n_bytes), (("ce_id", b"x"), ("e", b"")), number or None)


def number_of(taken: tuple[int, Message] | None) -> int:
    assert taken is not None
    return int(taken[1].value)


def drained(spool: Spool) -> list[int]:
    numbers = []
    while (taken := spool.take()) is not None:
        numbers.append(int(taken[1].value))
        spool.done(taken[0])
    return numbers


def test_messages_come_out_whole_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ALL)
    sent = [message(number, 10 * number + 8) for number in range(20)]
    for one in sent:
        spool.put(one)
    got = []
    while (taken := spool.take()) is not None:
        got.append(taken[1])
    assert got == sent
    spool.close()


def test_what_has_not_arrived_comes_again_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ALL)
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
    again = Spool(tmp_path, ALL)
    assert again.n_waiting == 8
    assert drained(again) == list(range(2, 10))  # 3 had arrived: sent twice rather than lost
    assert again.n_waiting == 0
    again.close()
    empty = Spool(tmp_path, ALL)
    assert (empty.n_waiting, empty.take()) == (0, None)
    empty.put(message(99))
    assert drained(empty) == [99]
    empty.close()


def test_a_torn_end_is_cut_off_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ALL)
    for number in range(3):
        spool.put(message(number))
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-5])
    again = Spool(tmp_path, ALL)
    assert again.dropped == Counter({"damaged": 1})
    assert again.n_cut_bytes > 100
    again.put(message(7))
    assert drained(again) == [0, 1, 7]
    again.close()


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_damaged_bytes_lose_at_most_what_is_behind_them_and_break_nothing(at: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), ALL)
        for number in range(5):
            spool.put(message(number))
        spool.close()
        (path,) = Path(folder).glob("*.spool")
        raw = bytearray(path.read_bytes())
        changed = raw[at % len(raw)] != value
        raw[at % len(raw)] = value
        path.write_bytes(raw)
        again = Spool(Path(folder), ALL)
        got = drained(again)
        assert got == list(range(len(got)))
        assert (len(got) < 5) == changed
        assert bool(again.dropped["damaged"]) == changed
        again.close()


def test_segments_that_have_arrived_are_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * 1024, clock=iter(range(10_000)).__next__)
    for number in range(60):
        spool.put(message(number, 1000))
    assert len(list(tmp_path.glob("*.spool"))) > 5
    assert drained(spool) == list(range(60))
    spool.tick()
    assert len(list(tmp_path.glob("*.spool"))) == 1
    spool.close()


def test_a_full_spool_drops_its_oldest_segment_and_counts_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 40_000)
    for number in range(60):
        spool.put(message(number, 1000))
    assert spool.n_bytes <= 40_000
    n_dropped = spool.dropped["spool full"]
    assert n_dropped > 20
    assert spool.n_waiting == 60 - n_dropped
    assert drained(spool) == list(range(n_dropped, 60))
    spool.close()


def test_a_full_spool_refuses_what_comes_under_drop_newest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 40_000, "drop_newest")
    for number in range(60):
        spool.put(message(number, 1000))
    n_dropped = spool.dropped["spool full"]
    assert 20 < n_dropped < 30
    assert drained(spool) == list(range(60 - n_dropped))
    spool.put(message(77))
    assert drained(spool) == [77]
    spool.close()


def test_what_is_on_its_way_from_a_dropped_segment_is_counted_when_it_fails(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 40_000)
    spool.put(message(0, 1000))
    assert spool.take() is not None
    for number in range(1, 60):
        spool.put(message(number, 1000))
    before = spool.dropped["spool full"]
    assert spool.n_waiting == 60 - before
    assert spool.rewind() == 0
    assert spool.dropped["spool full"] == before + 1
    assert drained(spool) == list(range(before + 1, 60))
    spool.close()


def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ALL)
    with pytest.raises(ConfigError, match=r"kafka.spool_dir must be used by one process at a time, got .* another"):
        Spool(tmp_path, ALL)
    spool.close()


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"kafka.spool_dir must be a folder to write in, got .*: (Not a dir|File ex)"):
        Spool(tmp_path / "file" / "spool", ALL)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_the_message_and_counts_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ALL)
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
from sinks.kafka.spool import Spool
from stream.contracts.messages import Message
spool = Spool(Path(sys.argv[1]), 1 << 30)
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
    spool = Spool(tmp_path, ALL)
    got = drained(spool)
    assert got == list(range(len(got)))
    assert len(got) - said in (1, 2)
    spool.close()


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["put", "put", "take", "done", "rewind", "tick", "restart"]), max_size=80),
    policy=st.sampled_from(["drop_oldest", "drop_newest"]),
)
def test_whatever_happens_no_message_is_lost_uncounted(steps: list[str], policy: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = iter(range(10_000)).__next__

        def opened() -> Spool:
            return Spool(Path(folder), 12_000, policy, clock=clock)  # type: ignore[arg-type]

        spool = opened()
        n_put, n_dropped = 0, 0
        on_way: list[tuple[int, int]] = []
        seen: set[int] = set()
        for step in steps:
            if step == "put":
                spool.put(message(n_put, 1000))
                n_put += 1
            elif step == "take" and (taken := spool.take()) is not None:
                on_way.append((taken[0], int(taken[1].value)))
            elif step == "done" and on_way:
                number, value = on_way.pop(0)
                spool.done(number)
                seen.add(value)
            elif step == "rewind":
                spool.rewind()
                on_way.clear()
            elif step == "tick":
                spool.tick()
            elif step == "restart":
                spool.rewind()
                on_way.clear()
                n_dropped += spool.dropped["spool full"]
                spool.close()
                spool = opened()
                assert spool.dropped == Counter()
        spool.rewind()
        n_dropped += spool.dropped["spool full"]
        seen.update(drained(spool))
        assert len(seen) + n_dropped >= n_put
        assert not n_dropped or n_put > 8
        assert spool.n_waiting == 0
        spool.close()
