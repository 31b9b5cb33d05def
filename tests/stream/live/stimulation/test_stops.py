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

from neuroloop.sinks.stimulator.control import ControlServer
from neuroloop.stream.live.stimulation.file_watch import FileWatch
from neuroloop.stream.live.stimulation.inbox import Inbox, SignalPipe
from neuroloop.stream.live.stimulation.stops import StopFile, StopKeys, StopMarkers

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


def test_a_stop_file_is_tried_with_a_file_beside_it_that_stops_nothing(tmp_path: Path) -> None:
    watch = StopFile(tmp_path / "STOP")
    assert watch.try_out() == ""
    assert not watch.exists()
    assert list(tmp_path.iterdir()) == []
    watch.close()
    nowhere = StopFile(tmp_path / "later" / "STOP")
    assert nowhere.try_out() == "no file can be made beside it: No such file or directory"


def test_signals_are_tried_with_one_that_stops_nothing_and_a_stop_among_them_is_kept() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    pipe = SignalPipe({signal.SIGUSR1: ("stop", "signal")})
    try:
        assert pipe.try_out() == ""
        assert pipe.take() == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert pipe.try_out() == ""
        assert [one.reason for one in pipe.take()] == ["SIGUSR1"]
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        assert pipe.try_out() == "SIGUSR1 is blocked"
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert pipe.try_out() == "another handler took SIGUSR1"
    finally:
        pipe.close()
        signal.signal(signal.SIGUSR1, before)


def test_the_operators_socket_is_tried_as_an_operator_reaches_it(tmp_path: Path) -> None:
    server = ControlServer(tmp_path)
    assert server.try_out() == ""
    (tmp_path / "operator.sock").unlink()
    assert server.try_out() == "nobody can connect: No such file or directory"
    server.close()


def test_keys_say_that_they_are_heard_only_in_the_foreground() -> None:
    ours, theirs = pty.openpty()  # not the terminal of this process, which so is not in its foreground
    heard = threading.Event()
    keys = StopKeys(lambda: None, theirs, heard.set)
    keys.close()
    assert not heard.is_set()
    os.close(ours)
    os.close(theirs)


def test_a_named_marker_stream_that_is_not_there_is_no_way_to_stop() -> None:
    markers = StopMarkers("stim_stop", lambda _: None, ["buttons"])
    assert markers.try_out() == "marker streams are not looked for"
    markers.start()
    try:
        assert markers.try_out() == "marker stream 'buttons' is not there"
    finally:
        markers.close()


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
