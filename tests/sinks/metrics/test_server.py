"""The server of metrics and health: paths, formats, bounds; over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.error import HTTPError

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from neuroloop.config.live import MetricsSettings
from neuroloop.sinks.metrics.server import Health, MetricsError, check_port, serve


class One(Collector):
    """A single gauge."""

    def __init__(self, value: float) -> None:
        self.value = value

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("neuroloop_one", "One.", value=self.value)


def good() -> Health:
    return Health(True, {"status": "running"})


def bad() -> Health:
    return Health(False, {"status": "warming up"})


def start(value: float = 1.0, host: str = "127.0.0.1") -> int:
    port = serve(One(value), MetricsSettings(port=0, host=host), healthy=good, ready=bad)
    assert port is not None
    return port


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def test_both_formats_are_served_on_request() -> None:
    port = start()
    (classic,) = parse_text(get(port, "/metrics")[1])
    _, text = get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    (modern,) = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert classic.name == modern.name == "neuroloop_one"
    assert text.endswith("# EOF\n")


def test_probes_answer_one_line_of_json_with_200_or_503() -> None:
    port = start()
    assert get(port, "/healthz") == (200, '{"status": "running"}\n')
    assert get(port, "/readyz") == (503, '{"status": "warming up"}\n')
    assert get(port, "/readyz", method="HEAD") == (503, "")


def test_other_paths_and_methods_are_refused() -> None:
    port = start()
    status, line = get(port, "/metricsx")
    assert status == 404
    assert json.loads(line) == {"error": "path must be one of /metrics, /healthz, /readyz, got '/metricsx'"}
    assert get(port, "/metrics", method="POST")[0] == 405
    assert get(port, "/metrics", method="HEAD") == (200, "")


def test_two_pipelines_of_one_process_do_not_mix() -> None:
    first, second = start(1.0), start(2.0)
    assert "neuroloop_one 1.0" in get(first, "/metrics")[1]
    assert "neuroloop_one 2.0" in get(second, "/metrics")[1]


def test_a_probe_is_answered_beside_any_number_of_silent_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuroloop.sinks.metrics.server._Handler.timeout", 60.0)
    monkeypatch.setattr("neuroloop.sinks.metrics.server._WHOLE_S", 600.0)
    port = start()
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=90)) for _ in range(30)]
        for one in silent:
            with suppress(OSError):
                one.sendall(b"GET /healthz HTTP/1.1\r\nX-")
        assert get(port, "/healthz")[0] == 200
        assert silent[0].recv(100) == b"", "the first one had to make room"


def test_more_answers_than_threads_are_refused_at_once() -> None:
    entered, hold = threading.Semaphore(0), threading.Event()

    def slow() -> Health:
        entered.release()
        hold.wait(90)
        return good()

    port = serve(One(1.0), MetricsSettings(port=0), healthy=slow, ready=bad)
    assert port is not None
    with ExitStack() as stack:
        stack.callback(hold.set)
        for _ in range(8):
            busy = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=90))
            busy.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert entered.acquire(timeout=90)
        with socket.create_connection(("127.0.0.1", port), timeout=90) as ninth:
            assert ninth.recv(100).startswith(b"HTTP/1.1 503 Service Unavailable")


def test_a_client_that_says_a_word_now_and_then_is_let_go_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuroloop.sinks.metrics.server._WHOLE_S", 0.3)
    port = start()
    with socket.create_connection(("127.0.0.1", port), timeout=90) as slow, suppress(OSError):
        for _ in range(900):
            slow.sendall(b"X-Word: a\r\n")
            time.sleep(0.1)
        pytest.fail("it was never let go")


def test_a_silent_client_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuroloop.sinks.metrics.server._Handler.timeout", 0.2)
    port = start()
    with socket.create_connection(("127.0.0.1", port), timeout=90) as silent:
        assert silent.recv(100) == b""
    monkeypatch.setattr("neuroloop.sinks.metrics.server._Handler.timeout", 90.0)
    assert get(port, "/healthz")[0] == 200


def test_a_taken_port_and_an_unknown_host_are_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = MetricsSettings(port=taken.getsockname()[1])
        with pytest.raises(
            MetricsError, match=r"metrics\.port must be a free port of this machine, got '127\.0\.0\.1:"
        ):
            check_port(settings)
        with pytest.raises(MetricsError, match="Address already in use"):
            serve(One(1.0), settings, healthy=good, ready=bad)
    with pytest.raises(MetricsError, match=r"got '256\.0\.0\.1:0'"):
        check_port(MetricsSettings(port=0, host="256.0.0.1"))
    check_port(MetricsSettings(port=0))
    check_port(MetricsSettings())
    assert serve(One(1.0), MetricsSettings(), healthy=good, ready=bad) is None
