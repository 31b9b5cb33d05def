"""Serve ``/metrics``, ``/healthz`` and ``/readyz`` on one port, with few threads and no patience for slow clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.live import MetricsSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_N_THREADS = 8
_CLIENT_S = 5.0
_WHOLE_S = 10.0
"""A request, from its connection to the end of its answer; however slowly a client speaks or listens."""
_MAKE_ROOM_S = 0.5
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_STATUS = {200: "200 OK", 404: "404 Not Found", 405: "405 Method Not Allowed", 503: "503 Service Unavailable"}


class MetricsError(NeuroloopError):
    """Metrics cannot be served."""


@dataclass(frozen=True)
class Health:
    """An answer of ``/healthz`` or ``/readyz``.

    Parameters
    ----------
    is_good : bool
        Whether the status is 200; 503 otherwise.
    facts : dict
        JSON values, for whoever looks.
    """

    is_good: bool
    facts: dict[str, Any]


Probe = Callable[[], Health]


def check_port(settings: MetricsSettings) -> None:
    """Find out early whether `serve` will be able to.

    Raises
    ------
    MetricsError
        If the port is taken or the host unknown.
    """
    if settings.port is None:
        return
    try:
        family, address = _address(settings)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _refusal(settings, error) from error


def serve(collector: Collector, settings: MetricsSettings, *, healthy: Probe, ready: Probe) -> int | None:
    """Serve until the process ends; return the port, or nothing where none is set.

    Parameters
    ----------
    collector : Collector
        Has a registry of its own, so that several pipelines of one process never mix.
    settings : MetricsSettings
    healthy, ready : callable
        Answer ``/healthz`` and ``/readyz``.

    Raises
    ------
    MetricsError
        If the port is taken or the host unknown.
    """
    if settings.port is None:
        return None
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        family, address = _address(settings)
        server = _Server((str(address[0]), settings.port), _Handler, bind_and_activate=False)
        server.open(family)
        server.set_app(_routes(registry, healthy, ready))
    except OSError as error:
        raise _refusal(settings, error) from error
    threading.Thread(target=server.serve_forever, name="neuroloop-metrics", daemon=True).start()
    return int(server.server_port)


def _address(settings: MetricsSettings) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0], found[0][4]


def _refusal(settings: MetricsSettings, error: OSError) -> MetricsError:
    where = f"{settings.host}:{settings.port}"
    return MetricsError(f"metrics.port must be a free port of this machine, got {where!r}: {error.strerror}")


def _routes(registry: CollectorRegistry, healthy: Probe, ready: Probe) -> Callable[..., Iterable[bytes]]:
    """Return the application that answers the paths."""
    metrics = make_wsgi_app(registry)
    probes = {"/healthz": healthy, "/readyz": ready}

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in {"GET", "HEAD"}:
            code, facts = 405, {"error": f"method must be GET or HEAD, got {method!r}"}
        elif path == "/metrics":
            body: Iterable[bytes] = metrics({**environ, "REQUEST_METHOD": "GET"}, start)
            return body if method == "GET" else [b""]
        elif path in probes:
            health = probes[path]()
            code, facts = (200 if health.is_good else 503), health.facts
        else:
            code, facts = 404, {"error": f"path must be one of /metrics, {', '.join(probes)}, got {path!r}"}
        line = json.dumps(facts).encode() + b"\n"
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(line))),
            ("Cache-Control", "no-store"),
        ]
        start(_STATUS[code], headers)
        return [line] if method != "HEAD" else [b""]

    return answer


class _Handler(WSGIRequestHandler):
    """Says nothing and lets go of a client that does not speak."""

    timeout = _CLIENT_S
    server: _Server

    def parse_request(self) -> bool:
        """Read the request; from then on the client is not sent away for another."""
        is_good = super().parse_request()
        self.server.has_asked(self.request)
        return is_good

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Keep scrapes out of the log."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, but only so many at once.

    Where all are taken, the client that has been silent for longest makes room: a probe, which asks at once, gets its
    answer beside any number of clients that say a word a second.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._free = threading.BoundedSemaphore(_N_THREADS)
        self._lock = threading.Lock()
        self._begun: dict[socket.socket, float] = {}
        self._silent: dict[socket.socket, None] = {}
        super().__init__(*arguments, **options)

    def has_asked(self, request: socket.socket) -> None:
        """Take note that a client has said what it wants."""
        with self._lock:
            self._silent.pop(request, None)

    def service_actions(self) -> None:
        """Hang up on requests that take too long; called twice a second."""
        begun_before = time.monotonic() - _WHOLE_S
        with self._lock:
            late = [request for request, begun in self._begun.items() if begun < begun_before]
        for request in late:
            _hang_up(request)

    def _make_room(self) -> bool:
        """Send the client away that has been silent for longest; say whether there is a place now."""
        with self._lock:
            oldest = next(iter(self._silent), None)
            if oldest is not None:
                del self._silent[oldest]
        if oldest is None:
            return False
        _hang_up(oldest)
        return self._free.acquire(timeout=_MAKE_ROOM_S)

    def open(self, family: socket.AddressFamily) -> None:
        """Bind and listen in an address family."""
        self.socket.close()
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.server_bind()
            self.server_activate()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Bind without asking a name server who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the request a thread, or refuse it."""
        if not self._free.acquire(blocking=False) and not self._make_room():
            with suppress(OSError):
                request.sendall(_BUSY)
            self.shutdown_request(request)
            return
        with self._lock:
            self._begun[request] = time.monotonic()
            self._silent[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._begun[request]
                self._silent.pop(request, None)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a client that went away go."""


def _hang_up(request: socket.socket) -> None:
    """End both directions; whoever reads or writes there sees the end."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
