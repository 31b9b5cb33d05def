"""Streams on a broker, workers and bare agents as processes, and what they take."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measure import Row, middle
from neuroloop.config.kafka import KafkaSettings, TopicSettings
from neuroloop.config.loading import PRESET_FOLDER, parse
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.tools.dev_broker import EmbeddedBroker
from neuroloop.stream.wire.frames import Frame, frames_of_block
from neuroloop.stream.wire.messages import StreamDescription, description_message, frame_message
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics

N_CHANNELS, SFREQ = 64, 1000.0
ROOT = Path(__file__).resolve().parents[1]
MONITOR: dict[str, Any] = {
    **yaml.safe_load((PRESET_FOLDER / "monitor.yaml").read_text(encoding="utf-8")), "description": "",
}  # fmt: skip
DEMO: dict[str, Any] = {"name": "demo", "source": {"kind": "simulator"}, "classifier": {"bundle": "demo"}}
PATIENCE_S = 240.0
LOOK_S = 0.2
"""Between two looks at the workers; a look costs each of them milliseconds."""
SETTLED_S = 5.0
APACHE = ROOT.parent / "shared" / "kafka" / "start"


def wide_stream(k: int) -> StreamInfo:
    """Return the description of one stream of 64 channels at 1 kHz."""
    names = tuple(f"E{i}" for i in range(N_CHANNELS))
    units, types = ("uV",) * N_CHANNELS, ("EEG",) * N_CHANNELS
    return StreamInfo(f"wide-{k}", "EEG", f"wide-{k}", SFREQ, names, types, units)


def engine_of_wide_stream(k: int = 0) -> Engine:
    """Return the preset's engine for such a stream."""
    config = parse(dict(MONITOR))
    return Engine(config.source, build(config, wide_stream(k)).pipeline)


def wide_rows(seconds: float, seed: int) -> RawBlock:
    """Return noise with a rhythm."""
    n = round(seconds * SFREQ)
    t = np.arange(n) / SFREQ
    data = np.random.default_rng(seed).standard_normal((n, N_CHANNELS)) * 10
    data += 30 * np.sin(2 * np.pi * 10 * t)[:, None]
    return RawBlock(data, 100.0 + t)


def frames_of(info: StreamInfo, block: RawBlock, frame_ms: float) -> list[Frame]:
    """Cut rows into frames of one length."""
    rows = max(1, round(frame_ms * 1e-3 * info.sfreq))
    made: list[Frame] = []
    for start in range(0, len(block.timestamps), rows):
        part = block.rows(start, start + rows)
        made += frames_of_block(
            part, stream=info.source_id, first_sample=start, counts="received", sfreq=info.sfreq, session=1
        )
    return made


@dataclass
class Bench:
    """Topics of their own on a broker.

    Parameters
    ----------
    bootstrap : str
    pipeline : dict
        The configuration without its brokers.
    partitions : int
    worker : dict
    session_s : float
        Of the group.
    """

    bootstrap: str
    pipeline: dict[str, Any]
    partitions: int = 4
    worker: dict[str, Any] = field(default_factory=dict)
    session_s: float = 6.0

    def __post_init__(self) -> None:
        self.prefix = f"bench-{secrets.token_hex(4)}"
        self.topics = Topics(self.prefix)
        ensure_topics(
            KafkaSettings(
                bootstrap=self.bootstrap, prefix=self.prefix, topics=TopicSettings(partitions=self.partitions)
            )
        )

    def send(self, streams: Sequence[tuple[StreamInfo, Sequence[Frame]]]) -> int:
        """Send whole streams, frame by frame in turns; return how many frames."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=2)
        for info, _ in streams:
            message = description_message(self.topics, StreamDescription(info.source_id, info, 1))
            producer.send(message.topic, value=message.value, key=message.key)
        producer.flush()
        n = 0
        for group in zip(*(frames for _, frames in streams), strict=True):
            for frame in group:
                message = frame_message(self.topics, frame)
                producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))
                n += 1
        producer.flush()
        producer.close()
        return n

    @contextmanager
    def workers(self, n: int, **settings: Any) -> Iterator[list[Worker]]:
        """Start workers; end them."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            path = Path(folder) / "worker.yaml"
            kafka = {
                "bootstrap": self.bootstrap, "prefix": self.prefix, "session_s": self.session_s,
                "topics": {"partitions": self.partitions},
            }  # fmt: skip
            values = {**self.pipeline, "kafka": kafka, "worker": {**self.worker, **settings}}
            path.write_text(yaml.safe_dump(values), encoding="utf-8")
            yield [stack.enter_context(Worker(path)) for _ in range(n)]

    def bare(self, n_frames: int, *options: object) -> Spent:
        """Run the agent that does nothing over the frames, or what the options say."""
        group = f"{self.prefix}.bare{secrets.token_hex(2)}"
        process = start_bare(self.bootstrap, self.topics.samples, group, n_frames, *options)
        out, _ = process.communicate(timeout=PATIENCE_S)
        quarter_s, end_s = map(float, out.split()[-2:])
        return Spent.of((n_frames // 4, quarter_s), (n_frames, end_s))


def start_bare(*arguments: object) -> subprocess.Popen[str]:
    """Start the agent of `benchmarks.kafka_bare`."""
    command = [sys.executable, "-m", "benchmarks.kafka_bare", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)


def environment() -> dict[str, str]:
    """Return what child processes need to find this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class Worker:
    """One worker process.

    Parameters
    ----------
    config : Path
    """

    def __init__(self, config: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._log = config.with_name(f"{self._port}.log")
        command = [
            sys.executable, "-m", "neuroloop.stream.cli.main", "worker", str(config), "--metrics-port", str(self._port),
        ]  # fmt: skip
        with self._log.open("w") as log:
            self.popen = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), cwd=ROOT)
        self.process = psutil.Process(self.popen.pid)

    def numbers(self) -> dict[str, float]:
        """Return its metrics, summed over labels; empty while it does not answer."""
        if self.popen.poll() is not None:
            raise RuntimeError(f"worker must work to the end, got: {self._log.read_text()[-500:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    @property
    def cpu_s(self) -> float:
        """Processor seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it from working for a while, shorter than the group's session."""
        self.process.suspend()
        try:
            yield
        finally:
            self.process.resume()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


@dataclass(frozen=True)
class Spent:
    """Processor seconds of processes that took frames.

    Parameters
    ----------
    frame_s : float
        Of one frame more.
    fixed_s : float
        What is left without frames: imports, joining the group.
    """

    frame_s: float
    fixed_s: float

    @classmethod
    def of(cls, early: tuple[int, float], late: tuple[int, float]) -> Spent:
        """Draw the line through two moments, each the frames taken and the seconds spent so far."""
        frame_s = (late[1] - early[1]) / (late[0] - early[0])
        return cls(frame_s, late[1] - late[0] * frame_s)


def settle(workers: Sequence[Worker]) -> None:
    """Wait until all workers are in the group and no rebalance came for a while."""
    end, since, before = time.monotonic() + PATIENCE_S, time.monotonic(), -1.0
    while time.monotonic() < end:
        numbers = [worker.numbers() for worker in workers]
        n_rebalances = sum(one.get("neuroloop_worker_rebalances_total", 0.0) for one in numbers)
        if n_rebalances != before or any(not one.get("neuroloop_worker_rebalances_total") for one in numbers):
            since, before = time.monotonic(), n_rebalances
        if time.monotonic() > since + SETTLED_S:
            return
        time.sleep(LOOK_S)
    raise RuntimeError(f"workers must settle, got {before:g} rebalances and no end")


def work_off(workers: Sequence[Worker], n_frames: int) -> tuple[Spent, float]:
    """Wait until the workers have taken so many frames; return what all of them spent, and seconds since the first.

    The line goes through the first look after a quarter of the frames and the last one. The elapsed time begins when
    the first frame was taken, so that joining the group is not in it.
    """
    end = time.monotonic() + PATIENCE_S
    first: float | None = None
    early: tuple[int, float] | None = None
    while time.monotonic() < end:
        taken = round(sum(worker.numbers().get("neuroloop_worker_frames_total", 0.0) for worker in workers))
        spent_s, now = sum(worker.cpu_s for worker in workers), time.perf_counter()
        if taken and first is None:
            first = now
        if early is None and n_frames // 4 <= taken < n_frames:
            early = (taken, spent_s)
        if taken >= n_frames:
            if early is None or first is None:
                raise RuntimeError(f"load must be long enough for two looks, got {n_frames} frames at once")
            return Spent.of(early, (taken, spent_s)), now - first
        time.sleep(LOOK_S)
    raise RuntimeError(f"workers must take {n_frames} frames, got {taken:g}")


class Restartable:
    """Apache Kafka that keeps its data and its port when it is killed.

    Parameters
    ----------
    data : Path
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._port = ""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, again too."""
        command = [sys.executable, str(APACHE), "--data", str(self._data)]
        command += ["--port", self._port] if self._port else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("stdout must be a pipe")
        self._port = self._process.stdout.readline().strip().rpartition(":")[2]

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def broker(kind: str) -> Iterator[str]:
    """Start a broker: ``embedded``, or ``apache`` where it lies beside the checkout."""
    if kind == "embedded":
        with EmbeddedBroker() as embedded:
            yield embedded.bootstrap
        return
    process = subprocess.Popen([sys.executable, str(APACHE)], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("stdout must be a pipe")
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError("workers must come to it within minutes, got nothing")
        time.sleep(0.1)


def row_of(topic: str, case: str, ours: Sequence[float], peer: str, theirs: Sequence[float], note: str) -> Row:
    """Return a row; times come in seconds."""
    ratios = [b / a if a > 0 else float("nan") for a, b in zip(ours, theirs, strict=True)]
    a, a_spread = middle([1e6 * one for one in ours])
    b, b_spread = middle([1e6 * one for one in theirs])
    ratio, ratio_spread = middle(ratios)
    return Row(topic, case, a, a_spread, peer, b, b_spread, ratio, ratio_spread, note)
