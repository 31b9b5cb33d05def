"""The operator's socket: one line of JSON in, one line out, in the run's folder, for its owner only.

A request is ``{"verb": ..., "token": ..., "reason": ..., "override": ..., "area_cm2": ...}``, an answer ``{"accepted":
..., "state": ..., "text": ...}``, to ``show`` with ``needs_area``. The server never waits. A request is read here,
once; what is none is answered with why, and its client let go. A client has a few seconds to ask; where all places are
taken, the oldest makes room.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.plain_text import plain_text

SOCKET_FILE = "operator.sock"
_MOST_BYTES = 4096
_MOST_CLIENTS = 16
_AT_ONCE = 8
"""Clients let in before those that are in are read: one who has just come must not make room unheard."""
_IDLE_NS = 5 * 10**9
_MOST_SIZE = 1e12
VERBS = ("status", "show", "stop", "disarm", "arm", "confirm", "reset", "unblind")


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """What an operator asks for.

    Parameters
    ----------
    verb : str
        One of `VERBS`.
    token, reason, override : str
        Plain text, empty where it was not given.
    area_cm2 : float or None
        Of the electrode, as the operator has read it; above 0.
    uid, pid : int
        Who asked, as the system says; -1 where it does not.
    """

    verb: str
    token: str = ""
    reason: str = ""
    override: str = ""
    area_cm2: float | None = None
    uid: int = field(default=-1, compare=False)
    pid: int = field(default=-1, compare=False)


def read_request(line: bytes) -> OperatorRequest:
    """Read a request, whatever came in its place.

    Raises
    ------
    ValueError
        If it is no JSON object of texts with a known verb, or the area is no number above 0.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("request must be one line of JSON, got something else") from error
    if not isinstance(values, dict):
        raise ValueError(f"request must be an object, got {type(values).__name__}")
    verb = values.get("verb")
    if not isinstance(verb, str) or verb not in VERBS:
        raise ValueError(f"verb must be a known one, got {plain_text(repr(verb), 40)}")
    for key in ("token", "reason", "override"):
        if not isinstance(values.get(key), (str, type(None))):
            if verb == "stop":  # whatever else it says, it is a stop
                values[key] = None
                continue
            raise ValueError(f"{key} must be text, got {type(values[key]).__name__}")
    token, reason, override = (plain_text(values.get(key)) for key in ("token", "reason", "override"))
    area_cm2 = None if verb == "stop" else _read_size(values, "area_cm2")
    return OperatorRequest(verb, token, reason, override, area_cm2)


def _read_size(values: dict[str, Any], key: str) -> float | None:
    """Return a number that can be the size of something. Raises ValueError for anything but that or nothing."""
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _MOST_SIZE:
        raise ValueError(f"{key} must be a number above 0, got {plain_text(repr(value)[:40])}")
    return float(value)


class ControlError(NeuroloopError):
    """The operator's socket cannot be made, or nobody answers on it."""


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Name a folder's socket in few characters: the system takes 107 at most."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_FILE}"
    finally:
        os.close(fd)


@dataclass
class _Client:
    link: socket.socket
    since_ns: int
    uid: int
    pid: int
    held: bytearray = field(default_factory=bytearray)


class ControlServer:
    """Take the operator's requests.

    Parameters
    ----------
    folder : Path
        Of the run.
    clock_ns : callable
        Monotonic.

    Raises
    ------
    ControlError
        If the socket cannot be made.
    """

    def __init__(self, folder: Path, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._path = folder / SOCKET_FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            with _short(folder) as name:
                self._socket.bind(name)
            self._socket.listen(8 * _MOST_CLIENTS)
        except OSError as error:
            self._socket.close()
            rule = "operator socket must be in a folder that takes sockets"
            raise ControlError(f"{rule}, got {str(folder)!r}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._clients: dict[int, _Client] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> list[int]:
        """Let in some of those who wait; return their descriptors, to be watched and given to `read`.

        Those who have been in for too long are let go, and the oldest where there is no other place.
        """
        self.drop_idle()
        fresh: list[int] = []
        while len(fresh) < _AT_ONCE:
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return fresh
            except OSError:  # no descriptors left
                return fresh
            if len(self._clients) >= _MOST_CLIENTS:
                self.let_go(next(iter(self._clients)))
            client.setblocking(False)
            self._clients[client.fileno()] = _Client(client, self._clock_ns(), *_peer(client))
            fresh.append(client.fileno())
        return fresh

    def try_out(self) -> str:
        """Connect to it as an operator does; return why nobody could, "" where one can."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
            try:
                with _short(self._path.parent) as name:
                    client.connect(name)
            except BlockingIOError:  # many wait: they are let in one after the other
                return ""
            except OSError as error:
                return f"nobody can connect: {error.strerror}"
        return ""

    def drop_idle(self) -> None:
        """Let go of those who have been in for longer than anybody needs to ask."""
        now_ns = self._clock_ns()
        for fd, one in list(self._clients.items()):
            if now_ns - one.since_ns > _IDLE_NS:
                self.let_go(fd)

    def has(self, fd: int) -> bool:
        """Return whether a descriptor is a client's."""
        return fd in self._clients

    def read(self, fd: int) -> list[OperatorRequest]:
        """Return the requests that a client has sent; one that is gone or sends rubbish is let go."""
        one = self._clients[fd]
        client, held = one.link, one.held
        requests: list[OperatorRequest] = []
        try:
            data = client.recv(_MOST_BYTES)
        except (BlockingIOError, InterruptedError):
            return requests
        except OSError:
            data = b""
        held += data
        while (end := held.find(b"\n")) >= 0:
            line = bytes(held[:end])
            del held[: end + 1]
            try:
                requests.append(replace(read_request(line), uid=one.uid, pid=one.pid))
            except ValueError as error:
                self.answer(fd, {"accepted": False, "state": "", "text": str(error)})
                if fd in self._clients:
                    self.let_go(fd)
                return requests
            one.since_ns = self._clock_ns()
        if not data or len(held) > _MOST_BYTES:
            self.let_go(fd)
        return requests

    def answer(self, fd: int, answer: Mapping[str, Any]) -> None:
        """Answer a client, if it is still there; one that does not take it is let go."""
        if fd not in self._clients:
            return
        line = json.dumps(answer).encode() + b"\n"
        try:
            sent = self._clients[fd].link.send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.let_go(fd)

    def let_go(self, fd: int) -> None:
        """End a connection."""
        self._clients.pop(fd).link.close()

    def close(self) -> None:
        """End all connections and remove the socket; may be called twice."""
        for fd in list(self._clients):
            self.let_go(fd)
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()


def _peer(client: socket.socket) -> tuple[int, int]:
    """Return the user and the process that connected, by the system's word and not by the client's."""
    try:
        pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return -1, -1
    return uid, pid


def ask(folder: Path, request: Mapping[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send one request to the run in a folder and return the answer.

    Raises
    ------
    ControlError
        If there is no such run, it does not stimulate, or it does not answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            with _short(folder) as name:
                client.connect(name)
            client.sendall(json.dumps(request).encode() + b"\n")
            held = b""
            while not held.endswith(b"\n"):
                data = client.recv(_MOST_BYTES)
                if not data:
                    raise ConnectionResetError
                held += data
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise ControlError(f"run must be a running one that stimulates, got {str(folder)!r}") from error
        except (TimeoutError, BlockingIOError) as error:
            raise ControlError(f"run must answer within {timeout_s:g} s, got nothing from {str(folder)!r}") from error
        except OSError as error:
            rule = "run must let this user in and answer"
            raise ControlError(f"{rule}, got {str(folder)!r}: {error.strerror or 'it hung up'}") from error
    answer = json.loads(held)
    return dict(answer)
