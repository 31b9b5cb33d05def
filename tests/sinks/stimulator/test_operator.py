"""The operator's socket and token."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from neuroloop.sinks.stimulator.control import SOCKET_FILE, ControlError, ControlServer, ask
from neuroloop.sinks.stimulator.token import TOKEN_FILE, forget_token, hash_token, is_token, make_token


@contextmanager
def serving(folder: Path) -> Iterator[list[dict[str, object]]]:
    """Answer every request with its verb; hand out what came."""
    server = ControlServer(folder)
    seen: list[dict[str, object]] = []
    stopped = threading.Event()
    clients: list[int] = []

    def serve() -> None:
        while not stopped.wait(0.002):
            clients.extend(server.accept())
            for fd in list(clients):
                for request in server.read(fd) if server.has(fd) else []:
                    seen.append(request)
                    server.answer(fd, {"accepted": True, "state": str(request.get("verb")), "text": ""})
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
    assert seen == [{"verb": "status"}, {"verb": "stop", "reason": "enough"}]


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
