"""The operator's socket and token."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from neuroloop.sinks.stimulator.control import (
    SOCKET_FILE,
    ControlError,
    ControlServer,
    OperatorRequest,
    ask,
    read_request,
)
from neuroloop.sinks.stimulator.token import (
    TOKEN_FILE,
    TokenCheck,
    forget_token,
    hash_token,
    is_token,
    make_token,
)


@contextmanager
def serving(folder: Path) -> Iterator[list[OperatorRequest]]:
    """Answer every request with its verb; hand out what came."""
    server = ControlServer(folder)
    seen: list[OperatorRequest] = []
    stopped = threading.Event()
    clients: list[int] = []

    def serve() -> None:
        while not stopped.wait(0.002):
            clients.extend(server.accept())
            for fd in list(clients):
                for request in server.read(fd) if server.has(fd) else []:
                    seen.append(request)
                    server.answer(fd, {"accepted": True, "state": request.verb, "text": ""})
                if not server.has(fd):
                    clients.remove(fd)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()
        server.close()
        assert not (folder / SOCKET_FILE).exists()


def test_a_request_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as seen:
        assert ask(tmp_path, {"verb": "status"}, timeout_s=90.0) == {"accepted": True, "state": "status", "text": ""}
        assert ask(tmp_path, {"verb": "stop", "reason": "enough"}, timeout_s=90.0)["state"] == "stop"
    assert seen == [OperatorRequest("status"), OperatorRequest("stop", reason="enough")]


def test_the_system_says_who_asks_whatever_the_request_says(tmp_path: Path) -> None:
    with serving(tmp_path) as seen:
        ask(tmp_path, {"verb": "status", "uid": 12345, "pid": 1}, timeout_s=90.0)
    assert [(one.uid, one.pid) for one in seen] == [(os.getuid(), os.getpid())]


def test_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    server = ControlServer(tmp_path)
    assert (tmp_path / SOCKET_FILE).stat().st_mode & 0o777 == 0o600
    server.close()
    server.close()


def test_a_folder_with_a_long_name_has_a_socket_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with serving(deep):
        assert ask(deep, {"verb": "stop"}, timeout_s=90.0)["accepted"]


@pytest.mark.parametrize("rubbish", [b"\n", b"no json\n", b"[1]\n", b"x" * 5000, b'{"verb": "st'])
def test_rubbish_harms_nobody_else(tmp_path: Path, rubbish: bytes) -> None:
    with serving(tmp_path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / SOCKET_FILE))
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(rubbish)
        assert ask(tmp_path, {"verb": "stop"}, timeout_s=90.0)["accepted"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"verb": []}', r"verb must be a known one, got \[\]"),
        (b'{"verb": "\\ud800"}', r"verb must be a known one, got '"),
        (b"[" * 4000, "request must be one line of JSON"),
        (b"\xff\xfe", "request must be one line of JSON"),
        (b"[1]", "request must be an object, got list"),
        (b'{"verb": "arm", "token": 7}', "token must be text, got int"),
        (b'{"verb": "reset", "reason": ["x"]}', "reason must be text, got list"),
        (b'{"verb": "arm", "area_cm2": "0.06"}', "area_cm2 must be a number above 0, got '0.06'"),
        (b'{"verb": "arm", "area_cm2": 0}', "area_cm2 must be a number above 0, got 0"),
        (b'{"verb": "arm", "area_cm2": -0.06}', "area_cm2 must be a number above 0, got -0.06"),
        (b'{"verb": "arm", "area_cm2": true}', "area_cm2 must be a number above 0, got True"),
        (b'{"verb": "arm", "area_cm2": NaN}', "area_cm2 must be a number above 0, got nan"),
        (b'{"verb": "arm", "area_cm2": Infinity}', "area_cm2 must be a number above 0, got inf"),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(line: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_request(line)


@pytest.mark.parametrize("reason", ['"elektrode \\udcfc"', "7", "[[]]", '"\\u001b[2J"'])
def test_a_stop_is_a_stop_whatever_its_reason(reason: str) -> None:
    request = read_request(f'{{"verb": "stop", "reason": {reason}}}'.encode())
    assert request.verb == "stop"
    assert request.reason.encode().decode().isprintable()


def test_a_stop_is_a_stop_whatever_area_it_names() -> None:
    assert read_request(b'{"verb": "stop", "area_cm2": "none"}').verb == "stop"


def test_an_area_is_read_as_a_number() -> None:
    assert read_request(b'{"verb": "arm", "token": "t", "area_cm2": 6e-2}') == OperatorRequest(
        "arm", "t", area_cm2=0.06
    )


def test_idle_clients_neither_stay_nor_keep_a_stop_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        seen = stack.enter_context(serving(tmp_path))
        for _ in range(40):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(tmp_path / SOCKET_FILE))
        assert ask(tmp_path, {"verb": "stop"}, timeout_s=90.0)["accepted"]
        assert seen == [OperatorRequest("stop")]


def test_a_client_that_asks_nothing_is_let_go_after_five_seconds(tmp_path: Path) -> None:
    now = [0]
    server = ControlServer(tmp_path, lambda: now[0])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / SOCKET_FILE))
        (fd,) = server.accept()
        now[0] = 5 * 10**9
        server.drop_idle()
        assert server.has(fd)
        now[0] += 1
        server.drop_idle()
        assert not server.has(fd)
    server.close()


def test_where_no_run_stimulates_the_refusal_is_clear(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="run must be a running one that stimulates"):
        ask(tmp_path, {"verb": "stop"})
    with pytest.raises(ControlError, match="run must be a running one that stimulates"):
        ask(tmp_path / "none", {"verb": "stop"})


def test_a_run_that_hangs_is_said(tmp_path: Path) -> None:
    server = ControlServer(tmp_path)
    with pytest.raises(ControlError, match=r"run must answer within 0.05 s"):
        ask(tmp_path, {"verb": "stop"}, timeout_s=0.05)
    server.close()


def test_a_folder_that_takes_no_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / SOCKET_FILE).touch()
    with pytest.raises(ControlError, match="operator socket must be in a folder that takes sockets"):
        ControlServer(tmp_path)


def test_the_token_opens_and_nothing_else_does(tmp_path: Path) -> None:
    token = make_token(tmp_path)
    sha256 = hash_token(token)
    assert is_token(token, sha256)
    assert is_token(f"{token}\n", sha256)
    for wrong in ("", "guess", token[:-1], sha256, None, 7, ["x"]):
        assert not is_token(wrong, sha256)
    kept = tmp_path / TOKEN_FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().strip() == token
    forget_token(tmp_path)
    forget_token(tmp_path)
    assert not kept.exists()


def test_every_start_has_a_token_of_its_own(tmp_path: Path) -> None:
    tokens = set()
    for name in "abc":
        (tmp_path / name).mkdir()
        tokens.add(make_token(tmp_path / name))
    assert len(tokens) == 3
    assert json.dumps(sorted(tokens))


def test_wrong_tokens_are_slowed_down_and_what_was_not_judged_is_counted() -> None:
    check, now_ns, n_judged = TokenCheck(hash_token("right")), 0, 0
    for _ in range(36_000):  # ten a second for an hour
        if check.wait_s(now_ns) == 0:
            assert not check.is_right("wrong", now_ns)
            n_judged += 1
        now_ns += 100_000_000
    assert 55 < n_judged < 75  # 5 at once, waits of 1, 2, 4 ... 32 s, then one a minute
    assert check.take_unjudged() == 36_000 - n_judged
    assert check.take_unjudged() == 0


def test_the_right_token_ends_the_waiting_once_it_is_judged() -> None:
    check = TokenCheck(hash_token("right"))
    for _ in range(5):
        assert check.wait_s(0) == 0
        assert not check.is_right("wrong", 0)
    assert check.wait_s(0) == 1.0
    assert check.wait_s(1_000_000_000) == 0
    assert check.is_right("right", 1_000_000_000)
    assert not check.is_right("wrong", 1_000_000_000)
    assert check.wait_s(1_000_000_000) == 0


def test_a_mistyped_token_now_and_then_makes_nobody_wait() -> None:
    check = TokenCheck(hash_token("right"))
    for _ in range(20):
        for given in ("wrong", "wrong", "wrong", "wrong", "right"):
            assert check.wait_s(0) == 0
            assert check.is_right(given, 0) == (given == "right")
