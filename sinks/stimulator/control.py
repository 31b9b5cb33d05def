"""The operator's socket: one line of JSON in, one line out, in the run's folder, for its owner only.

A request is ``{"verb": ..., "token": ..., "reason": ..., "override": ...}``, an answer ``{"accepted": ..., "state":
..., "text": ...}``. The server never waits: a client that sends half a line is left alone until it sends the rest.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError

SOCKET_FILE = "operator.sock"
_MOST_BYTES = 4096
_MOST_CLIENTS = 16


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


class ControlServer:
    """Take the operator's requests.

    Parameters
    ----------
    folder : Path
        Of the run.

    Raises
    ------
    ControlError
        If the socket cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            with _short(folder) as name:
                self._socket.bind(name)
            self._socket.listen(_MOST_CLIENTS)
        except OSError as error:
            self._socket.close()
            rule = "operator socket must be in a folder that takes sockets"
            raise ControlError(f"{rule}, got {str(folder)!r}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> list[int]:
        """Let in whoever waits; return their descriptors, to be watched and given to `read`."""
        fresh: list[int] = []
        while True:
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return fresh
            except OSError:  # no descriptors left
                return fresh
            if len(self._clients) >= _MOST_CLIENTS:
                client.close()
                continue
            client.setblocking(False)
            self._clients[client.fileno()] = (client, bytearray())
            fresh.append(client.fileno())

    def has(self, fd: int) -> bool:
        """Return whether a descriptor is a client's."""
        return fd in self._clients

    def read(self, fd: int) -> list[dict[str, Any]]:
        """Return the requests that a client has sent; one that is gone or sends rubbish is let go."""
        client, held = self._clients[fd]
        requests: list[dict[str, Any]] = []
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
                request = json.loads(line)
            except ValueError:
                request = None
            if not isinstance(request, dict):
                self.let_go(fd)
                return requests
            requests.append(request)
        if not data or len(held) > _MOST_BYTES:
            self.let_go(fd)
        return requests

    def answer(self, fd: int, answer: Mapping[str, Any]) -> None:
        """Answer a client, if it is still there; one that does not take it is let go."""
        if fd not in self._clients:
            return
        line = json.dumps(answer).encode() + b"\n"
        try:
            sent = self._clients[fd][0].send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.let_go(fd)

    def let_go(self, fd: int) -> None:
        """End a connection."""
        client, _ = self._clients.pop(fd)
        client.close()

    def close(self) -> None:
        """End all connections and remove the socket; may be called twice."""
        for fd in list(self._clients):
            self.let_go(fd)
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()


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
