from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading

import pytest

from neuroloop.stream.ring.bell import Bell, Listener
from neuroloop.stream.ring.header import process_start
from neuroloop.stream.ring.samples import SampleRing
from tests.stream.ring.signals import INFO, numbered_chunk, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bells need Linux")


def test_every_listener_hears_every_ring_once() -> None:
    with Bell() as bell:
        listeners = [bell.listen() for _ in range(3)]
        for _ in range(2):
            bell.notify()
            bell.notify()
            assert [listener.wait(10.0) for listener in listeners] == [True] * 3
            assert [listener.wait(0.0) for listener in listeners] == [False] * 3
        for listener in listeners:
            listener.close()
            listener.close()


def test_ring_made_while_nobody_sleeps_is_kept() -> None:
    with Bell() as bell:
        listener = bell.listen()
        bell.notify()
        assert listener.wait(10.0)
        listener.close()


def test_sleeper_is_woken() -> None:
    with Bell() as bell:
        listener = bell.listen()
        heard: list[bool] = []
        sleeper = threading.Thread(target=lambda: heard.append(listener.wait(30.0)))
        sleeper.start()
        bell.notify()
        sleeper.join(20.0)
        assert heard == [True]
        listener.close()


def test_listener_that_is_gone_hurts_nobody() -> None:
    with Bell() as bell:
        gone, there = bell.listen(), bell.listen()
        gone.close()
        bell.notify()
        assert there.wait(10.0)
        there.close()


def _sleeping_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def test_death_of_the_watched_process_wakes() -> None:
    with Bell() as bell, _sleeping_process() as watched:
        listener = bell.listen()
        listener.watch(watched.pid)
        assert not listener.wait(0.0)
        assert listener.hears_death_of(watched.pid)
        assert not listener.is_watched_dead()
        watched.kill()
        assert listener.wait(20.0)
        assert listener.is_watched_dead()
        listener.watch(0)
        assert not listener.wait(0.0)
        watched.wait()
        listener.watch(watched.pid)  # long gone: no descriptor to wait on
        assert not listener.hears_death_of(watched.pid)
        assert not listener.wait(30.0)  # cut short
        listener.close()


def test_process_that_waits_to_be_reaped_is_dead_and_numbers_used_again_are_told_apart() -> None:
    with _sleeping_process() as process:
        assert process_start(process.pid) > 0
        assert process_start(process.pid) >= process_start(os.getpid()) > 0
        process.kill()
        wait_until(lambda: process_start(process.pid) == 0, "the zombie counts as dead")
        process.wait()
        assert process_start(process.pid) == 0


def test_reader_waits_for_rows_and_hears_other_rings_of_the_bell() -> None:
    with (
        Bell() as bell,
        SampleRing.private(INFO, 10, readers=("r",), bell=bell) as ring,
        SampleRing.private(INFO, 10, bell=bell) as other,
        ring.writer() as writer,
        ring.reader("r") as reader,
        other.writer() as other_writer,
    ):
        assert not reader.wait(10.0)  # the second writer rang when it came
        assert not reader.wait(0.0)
        other_writer.notify()
        assert not reader.wait(10.0)
        writer.append(numbered_chunk(0, 1))
        assert reader.wait(10.0)  # rows are seen without a ring
        reader.read(1)
        writer.close()
        assert not reader.wait(10.0)
        assert reader.is_ended


def test_without_pidfd_waits_are_cut_into_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with Bell() as bell:
        listener: Listener = bell.listen()
        listener.watch(os.getpid())
        assert not listener.wait(60.0)
        listener.close()


def test_bell_is_handed_over_only_while_a_process_is_spawned_and_closes_twice() -> None:
    bell = Bell()
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        pickle.dumps(bell)
    bell.close()
    bell.close()
