"""``neuroloop demo --kafka``: simulated streams, a broker, two workers, one of which is killed on the screen."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from kafka import KafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from neuroloop.config.errors import ConfigError, DemoFailed
from neuroloop.config.kafka import KafkaSettings, TopicSettings
from neuroloop.config.loading import dump_config, load_config
from neuroloop.config.tree import Config
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.sinks.terminal.cluster_view import ClusterView, WorkerLine
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.tools.dev_broker import EmbeddedBroker
from neuroloop.stream.wire.brokers import quiet_client
from neuroloop.stream.wire.client_arguments import client_arguments
from neuroloop.stream.wire.frames import frames_of_block, last_frame
from neuroloop.stream.wire.messages import StreamDescription, description_message, frame_message, marker_message
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics

N_STREAMS = 16
_N_PARTITIONS = 8
_FRAME_S = 0.1
_KILL_AT = 0.4
_UP_S = 90.0
_REST_S = 60.0
_LOOK_S = 0.25
_STOP_S = 5.0
_SESSION = 1


@dataclasses.dataclass(frozen=True)
class Stream:
    """One simulated stream."""

    key: str
    info: StreamInfo
    block: RawBlock
    markers: Sequence[Marker]


def simulate(config: Config, seconds: float) -> list[Stream]:
    """Return the streams, each of a seed of its own, as long as the demo lasts."""
    streams = []
    for k in range(N_STREAMS):
        settings = config.source.simulator
        simulator = Simulator(settings.model_copy(update={"seed": settings.seed + k, "duration_s": seconds}))
        n_samples = simulator.n_samples or 0
        info = dataclasses.replace(simulator.info, name=f"subject-{k + 1:02d}")
        data, timestamps = simulator.generate(0, n_samples)
        streams.append(Stream(info.name, info, RawBlock(data, timestamps), simulator.markers(0, n_samples)))
    return streams


class Seen:
    """What came out of the cluster: every event once, by its stream, session and id.

    Parameters
    ----------
    settings : KafkaSettings
    view : ClusterView
    """

    def __init__(self, settings: KafkaSettings, view: ClusterView) -> None:
        self._settings = settings
        self._view = view
        self.lines: dict[tuple[str, int, str], str] = {}
        self.n_repeated = 0
        self.n_changed = 0
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="demo-reader", daemon=True)

    def __enter__(self) -> Seen:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read no more."""
        self._is_ended.set()
        self._thread.join(10.0)

    def _read(self) -> None:
        topics = Topics(self._settings.prefix)
        consumer = KafkaConsumer(
            **client_arguments(self._settings), auto_offset_reset="earliest", enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )  # fmt: skip
        names = (topics.predictions, topics.states, topics.alerts)
        places = [TopicPartition(name, p) for name in names for p in range(_N_PARTITIONS)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while not self._is_ended.is_set():
            for place, records in consumer.poll(timeout_ms=100).items():
                for record in records:
                    self._take(place.topic == topics.predictions, record.key.decode(), json.loads(record.value))
        consumer.close()

    def _take(self, is_decision: bool, key: str, event: dict[str, Any]) -> None:
        line = canonical(event)
        identity = key, int(event["session"]), str(event["id"])
        known = self.lines.get(identity)
        if known is not None:
            self.n_repeated += 1
            self.n_changed += known != line
            return
        self.lines[identity] = line
        if is_decision:
            self._view.decide(key)
        elif event["type"] == "state":
            self._view.streams[key].state = event["state"]


class Workers:
    """The worker processes, and what they say of themselves.

    Parameters
    ----------
    config : Path
    folder : Path
        For their logs.
    view : ClusterView
    """

    def __init__(self, config: Path, folder: Path, view: ClusterView) -> None:
        self._config = config
        self._folder = folder
        self._view = view
        self._running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    def start(self) -> str:
        """Start one more; return its name."""
        name = f"worker {len(self._view.workers) + 1}"
        port = _free_port()
        command = [
            sys.executable, "-m", "neuroloop.stream.cli.main", "worker", str(self._config), "--metrics-port", str(port),
        ]  # fmt: skip
        root = str(Path(str(sys.modules["neuroloop"].__file__)).resolve().parent.parent)
        paths = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PYTHONPATH": paths}
            )
        self._running[name] = (process, port)
        self._view.workers[name] = WorkerLine()
        return name

    def kill(self, name: str) -> None:
        """End one as a power cut would."""
        process, _ = self._running.pop(name)
        process.kill()
        process.wait()
        line = self._view.workers[name]
        line.status, line.n_streams, line.lag = "killed", 0, 0

    def look(self) -> None:
        """Ask every worker how it is.

        Raises
        ------
        DemoFailed
            If one has ended by itself.
        """
        for name, (process, port) in self._running.items():
            line = self._view.workers[name]
            if process.poll() is not None:
                lines = (self._folder / f"{name}.log").read_text(encoding="utf-8").splitlines()
                raise DemoFailed(f"{name} must work to the end, got its end: {lines[-1] if lines else 'no word'}")
            numbers = _scrape(port)
            if numbers:
                line.n_streams = int(numbers.get("neuroloop_worker_streams", 0))
                line.lag = int(numbers.get("neuroloop_worker_lag_frames", 0))
                line.n_snapshots = int(numbers.get("neuroloop_worker_snapshots_total", 0))
                line.n_restored = int(numbers.get("neuroloop_worker_restores_total", 0))
                if numbers.get("neuroloop_worker_rebalances_total", 0):
                    line.status = "working"

    @property
    def are_up(self) -> bool:
        """Whether every worker that runs has its share."""
        return all(self._view.workers[name].status == "working" for name in self._running)

    def stop(self) -> None:
        """End those that run, politely at first."""
        for process, _ in self._running.values():
            process.send_signal(signal.SIGTERM)
        end = time.perf_counter() + _STOP_S
        for process, _ in self._running.values():
            try:
                process.wait(max(0.0, end - time.perf_counter()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scrape(port: int) -> dict[str, float]:
    """Return a worker's numbers, summed over their labels; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1.0) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    numbers: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            numbers[sample.name] = numbers.get(sample.name, 0.0) + sample.value
    return numbers


def _send(producer: Producer, topics: Topics, streams: Sequence[Stream], stop: threading.Event) -> None:
    """Send all streams in real time, each row when it is due."""
    sfreq = streams[0].info.sfreq
    n_total, rows = len(streams[0].block.timestamps), max(1, round(_FRAME_S * sfreq))
    begin = time.perf_counter()
    for start in range(0, n_total, rows):
        wait_s = min(start + rows, n_total) / sfreq - (time.perf_counter() - begin)
        if wait_s > 0 and stop.wait(wait_s):
            return
        for one in streams:
            block = one.block.rows(start, start + rows)
            for frame in frames_of_block(
                block, stream=one.key, first_sample=start, counts="received", sfreq=sfreq, session=_SESSION
            ):
                producer.offer(frame_message(topics, frame))
    for one in streams:
        end = last_frame(
            stream=one.key, first_sample=n_total, counts="received", sfreq=sfreq, n_channels=one.info.n_channels,
            session=_SESSION,
        )  # fmt: skip
        producer.offer(frame_message(topics, end))


def local_lines(config: Config, streams: Sequence[Stream]) -> dict[tuple[str, int, str], str]:
    """Return what one uninterrupted local run says of every stream, by stream, session and id."""
    bundle = load_classifier(config)
    lines = {}
    for one in streams:
        engine = Engine(config.source, build(config, one.info, bundle=bundle).pipeline)
        engine.add_markers(one.markers)
        for event in engine.push_block(one.block) + engine.finish():
            lines[one.key, _SESSION, event.id] = canonical(event)
    return lines


@contextmanager
def _sending(producer: Producer, topics: Topics, streams: Sequence[Stream]) -> Iterator[threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(target=_send, args=(producer, topics, streams, stop), name="demo-sender", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(10.0)


def run_demo(config: Config, seconds: float, folder: Path) -> str:
    """Run it.

    Parameters
    ----------
    config : Config
        With a simulator.
    seconds : float
        Length of the streams.
    folder : Path
        For what the processes write.

    Returns
    -------
    str
        The line that says that nothing was lost and nothing changed.

    Raises
    ------
    DemoFailed
        If something was, or a worker ended by itself.
    """
    if config.source.kind != "simulator" or config.classifier is None:
        raise ConfigError("source.kind must be 'simulator', with a classifier, for demo --kafka")
    quiet_client()
    streams = simulate(config, seconds)
    truth = local_lines(config, streams)
    bundle = load_classifier(config)
    classes = bundle.settings.classes if bundle is not None else ()
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        settings = KafkaSettings(bootstrap=broker.bootstrap, topics=TopicSettings(partitions=_N_PARTITIONS))
        ensure_topics(settings)
        path = _worker_config(config, settings, folder)
        view = stack.enter_context(ClusterView("neuroloop demo --kafka", tuple(s.key for s in streams), classes))
        producer = Producer(settings, ("samples", "streams", "markers"))
        stack.callback(producer.close)
        workers = Workers(path, folder, view)
        stack.callback(workers.stop)
        seen = stack.enter_context(Seen(settings, view))
        view.note(f"broker on {broker.bootstrap}; two workers start")
        _introduce(producer, Topics(settings.prefix), streams)
        victim = workers.start()
        workers.start()
        _wait(lambda: workers.are_up, workers, view, _UP_S, "workers must have their share")
        sender = stack.enter_context(_sending(producer, Topics(settings.prefix), streams))
        begin = time.perf_counter()
        _wait(lambda: time.perf_counter() - begin >= seconds * _KILL_AT, workers, view, math.inf, "")
        held = view.workers[victim].n_streams
        workers.kill(victim)
        view.note(f"{time.perf_counter() - begin:.1f} s: {victim} killed with {held} streams in it; a new one starts")
        workers.start()
        _wait(lambda: not sender.is_alive(), workers, view, math.inf, "")
        view.note(f"{time.perf_counter() - begin:.1f} s: everything is sent; {len(seen.lines)} of {len(truth)} events")
        _wait(lambda: len(seen.lines) >= len(truth), workers, view, _REST_S, "every event must come", is_fatal=False)
        return _verdict(seen, truth, held)


def _worker_config(config: Config, settings: KafkaSettings, folder: Path) -> Path:
    """Write what the workers run."""
    values = yaml.safe_load(dump_config(config))
    values = {key: value for key, value in values.items() if key in ("name", "source", "classifier", "stages", "drift")}
    values["kafka"] = {
        "bootstrap": settings.bootstrap, "prefix": settings.prefix, "topics": {"partitions": _N_PARTITIONS},
    }  # fmt: skip
    values["worker"] = {"snapshot_s": 1.0}
    path = folder / "worker.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    load_config(str(path))
    return path


def _introduce(producer: Producer, topics: Topics, streams: Sequence[Stream]) -> None:
    """Describe the streams, and say when their true states change."""
    for one in streams:
        producer.offer(description_message(topics, StreamDescription(one.key, one.info, _SESSION)))
        for k, marker in enumerate(one.markers):
            producer.offer(marker_message(topics, marker, stream=one.key, k=k, session=_SESSION))


def _wait(
    is_done: Callable[[], bool],
    workers: Workers,
    view: ClusterView,
    timeout_s: float,
    rule: str,
    *,
    is_fatal: bool = True,
) -> None:
    """Keep the view alive until something is so."""
    end = time.perf_counter() + timeout_s
    while not is_done():
        if time.perf_counter() >= end:
            if is_fatal:
                raise DemoFailed(f"{rule} within {timeout_s:g} s, got other")
            return
        workers.look()
        view.draw()
        time.sleep(_LOOK_S)


def _verdict(seen: Seen, truth: dict[tuple[str, int, str], str], n_taken_over: int) -> str:
    """Compare with the local run."""
    lost = [key for key in truth if key not in seen.lines]
    changed = [key for key, line in seen.lines.items() if truth.get(key) != line]
    if lost or changed or seen.n_changed:
        raise DemoFailed(
            f"the cluster must say what a local run says, got {len(lost)} events lost and "
            f"{len(changed) + seen.n_changed} changed of {len(truth)}"
        )
    return (
        f"{N_STREAMS} streams, one worker killed with {n_taken_over} of them, {len(truth)} events "
        f"({seen.n_repeated} came twice): nothing lost, nothing changed against a local run"
    )
