"""Every way in which somebody can ask for a stop, and the files that must not change."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import threading
from pathlib import Path

import pytest

from neuroloop.stream.live.stimulation.file_watch import FileWatch
from neuroloop.stream.live.stimulation.inbox import Inbox, SignalPipe
from neuroloop.stream.live.stimulation.stops import StopFile, StopKeys

PATIENCE_S = 20.0


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def becomes_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], PATIENCE_S)[0])


def test_requests_of_any_thread_come_out_in_order() -> None:
    inbox = Inbox()
    assert inbox.take() == []
    assert not readable(inbox.fileno())

    def put() -> None:
        for n in range(3):
            inbox.put("stop", "marker", str(n))

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    assert readable(inbox.fileno())
    assert [(one.verb, one.channel, one.reason) for one in inbox.take()] == [
        ("stop", "marker", "0"), ("stop", "marker", "1"), ("stop", "marker", "2"),
    ]  # fmt: skip
    assert not readable(inbox.fileno())
    inbox.close()
    inbox.close()
    inbox.put("stop", "marker")  # a thread that is late


def test_a_signal_is_a_request_whoever_of_the_threads_it_meets() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    pipe = SignalPipe({signal.SIGUSR1: ("stop", "signal")})
    try:
        assert pipe.take() == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert becomes_readable(pipe.fileno())
        (request,) = pipe.take()
        assert (request.verb, request.channel, request.reason) == ("stop", "signal", "SIGUSR1")
        for _ in range(1000):  # more than anybody sends: the pipe takes what it can, nobody waits
            os.kill(os.getpid(), signal.SIGUSR1)
        assert pipe.take()
    finally:
        pipe.close()
        pipe.close()
        signal.signal(signal.SIGUSR1, before)


def test_a_stop_file_is_seen_and_wakes_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "STOP"
    watch = StopFile(path)
    assert not watch.exists()
    (tmp_path / "other").touch()
    path.touch()
    assert becomes_readable(watch.fileno())
    assert watch.exists()
    assert not readable(watch.fileno())
    assert watch.exists()
    path.unlink()
    assert not watch.exists()
    path.symlink_to(tmp_path / "nowhere")
    assert watch.exists()
    watch.close()
    watch.close()


def test_a_stop_file_in_a_folder_that_is_not_there_is_looked_for_all_the_same(tmp_path: Path) -> None:
    watch = StopFile(tmp_path / "later" / "STOP")
    assert watch.fileno() == -1
    assert not watch.exists()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "STOP").touch()
    assert watch.exists()


@pytest.mark.parametrize("key", [b"s", b"S", b" ", b"xys"])
def test_keys_of_a_terminal_stop_and_the_terminal_is_given_back(key: bytes) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    pressed = threading.Event()
    keys = StopKeys(pressed.set, theirs)
    try:
        assert not termios.tcgetattr(theirs)[3] & termios.ICANON
        os.write(ours, key)
        assert pressed.wait(PATIENCE_S)
    finally:
        keys.close()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_other_keys_do_not_stop_and_no_terminal_has_no_keys() -> None:
    ours, theirs = pty.openpty()
    pressed = threading.Event()
    keys = StopKeys(pressed.set, theirs)
    os.write(ours, b"abc\n")
    keys.close()
    assert not pressed.is_set()
    os.close(ours)
    os.close(theirs)


def test_a_changed_file_is_told_by_its_content_not_by_its_date(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("b")
    watch = FileWatch([one, other])
    was = watch.now
    one.touch()
    other.unlink()
    other.write_text("b")
    watch.look()
    assert watch.now == was
    other.write_text("c")
    watch.look()
    assert watch.now != was
    assert watch.changed == other
    other.write_text("b")
    watch.look()
    assert watch.now == was
    one.unlink()
    watch.look()
    assert watch.now != was
    assert watch.changed == one


def test_a_file_that_cannot_be_read_at_the_begin_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        FileWatch([tmp_path / "none"])
