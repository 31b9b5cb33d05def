"""Workers on a real broker, streams sent to them, events collected from the topics."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.wire.client_arguments import client_arguments
from neuroloop.stream.wire.frames import Frame, frames_of_block, last_frame
from neuroloop.stream.wire.messages import (
    Message,
    StreamDescription,
    description_message,
    frame_message,
    marker_message,
)
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics
from tests.integration.live import Program, Start
from tests.integration.lsl import wait_until

PATIENCE_S = 240.0
SESSION = 7


@dataclass(frozen=True, eq=False)
class Sent:
    """One stream as a producer sends it.

    Parameters
    ----------
    key : str
        Its id.
    info : StreamInfo
    block : RawBlock
    markers : list of Marker
    first_sample : int
    """

    key: str
    info: StreamInfo
    block: RawBlock
    markers: Sequence[Marker] = ()
    first_sample: int = 0

    @property
    def description(self) -> StreamDescription:
        """What is said before the first frame."""
        return StreamDescription(self.key, self.info, SESSION, None, self.first_sample)

    def frames(self, rows: int) -> list[Frame]:
        """Return all frames, the last one included."""
        block = self.block
        made: list[Frame] = []
        n = len(block.timestamps)
        for start in range(0, n, rows):
            made += frames_of_block(
                block.rows(start, start + rows),
                stream=self.key, first_sample=start, counts="received", sfreq=self.info.sfreq, session=SESSION,
            )  # fmt: skip
        made.append(
            last_frame(
                stream=self.key,
                first_sample=n,
                counts="received",
                sfreq=self.info.sfreq,
                n_channels=self.info.n_channels,
                session=SESSION,
            )
        )
        return made

    def truth(self, config: Config) -> set[str]:
        """Return the canonical lines of a replay."""
        engine = Engine(config.source, build(config, self.info).pipeline, first_sample=self.first_sample)
        engine.add_markers(self.markers)
        lines = [canonical(event) for event in engine.push_block(self.block) + engine.finish()]
        found = set(lines)
        assert len(found) == len(lines)
        return found


@dataclass
class Cluster:
    """Topics on a broker, and the workers of one group.

    Parameters
    ----------
    bootstrap, prefix : str
    folder : Path
    start : Start
        Starts commands.
    pipeline : dict
        The pipeline's part of the configuration.
    worker : dict
        Settings of the workers.
    session_s : float
        After which silence a member is replaced.
    partitions : int
    security : dict
        Settings of the connection, and of what travels on it.
    """

    bootstrap: str
    prefix: str
    folder: Path
    start: Start
    pipeline: dict[str, object]
    worker: dict[str, object] = field(default_factory=dict)
    session_s: float = 6.0
    partitions: int = 4
    security: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kafka = {
            "bootstrap": self.bootstrap, "prefix": self.prefix, "session_s": self.session_s,
            "topics": {"partitions": self.partitions}, **self.security,
        }  # fmt: skip
        self.config_path = self.folder / "worker.yaml"
        values = {**self.pipeline, "kafka": kafka, "worker": {"snapshot_s": 0.5, **self.worker}}
        self.config_path.write_text(yaml.safe_dump(values), encoding="utf-8")
        self.config = load_config(str(self.config_path))
        self.topics = Topics(self.prefix)
        self.workers: list[Program] = []
        settings = self.config.kafka
        assert settings is not None
        ensure_topics(settings)
        self.settings: KafkaSettings = settings

    def begin(self, *options: object) -> Program:
        """Start one more worker."""
        worker = self.start("worker", self.config_path, *options)
        self.workers.append(worker)
        return worker

    @contextmanager
    def producer(self, **options: object) -> Iterator[KafkaProducer]:
        """Hand out a producer; everything is sent at the end."""
        made = KafkaProducer(
            **client_arguments(self.settings), acks="all", linger_ms=2, max_request_size=1_000_000,
            delivery_timeout_ms=2**31 - 1, max_block_ms=120_000, **options,
        )  # fmt: skip
        try:
            yield made
            made.flush(timeout=PATIENCE_S)
        finally:
            made.close(timeout=5)

    def describe(self, producer: KafkaProducer, streams: Sequence[Sent]) -> None:
        """Send descriptions and markers, and wait until the broker has them."""
        for stream in streams:
            put(producer, description_message(self.topics, stream.description))
            for k, marker in enumerate(stream.markers):
                put(producer, marker_message(self.topics, marker, stream=stream.key, k=k, session=SESSION))
        producer.flush(timeout=PATIENCE_S)

    def message(self, frame: Frame) -> Message:
        """Return the message of a frame."""
        return frame_message(self.topics, frame)


def put(producer: KafkaProducer, message: Message) -> None:
    """Send one message."""
    producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))


class Collector:
    """Reads all events from the beginning on, in a thread; keeps each id of a stream once.

    Attributes
    ----------
    lines : dict
        Canonical lines by stream's key and, within it, session and event's id.
    n_messages : int
        Events as they came, repeated ones too.
    contradictions : list
        Events that came again with another content.
    dead : dict
        Headers of the dead letters, each once, by partition and offset of what they were.
    arrivals : list of (float, str)
        When each event came first, by `time.perf_counter`, and its stream's key.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.lines: dict[str, dict[str, str]] = {}
        self.n_messages = 0
        self.contradictions: list[tuple[str, str, str]] = []
        self.dead: dict[tuple[bytes, bytes], dict[str, bytes]] = {}
        self.arrivals: list[tuple[float, str]] = []
        self._topics = cluster.topics
        self._client = client_arguments(cluster.settings)
        self._partitions = cluster.partitions
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="collector", daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended.set()
        self._thread.join(PATIENCE_S)

    @property
    def n_events(self) -> int:
        """Distinct events so far."""
        return sum(len(lines) for lines in list(self.lines.values()))

    def wait_for(self, n: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many distinct events have come."""
        wait_until(lambda: self.n_events >= n, f"{n} events", timeout_s)

    def _read(self) -> None:
        consumer = KafkaConsumer(
            **self._client, auto_offset_reset="earliest", enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )  # fmt: skip
        topics = self._topics
        names = (topics.predictions, topics.states, topics.alerts, topics.dead)
        places = [TopicPartition(name, p) for name in names for p in range(self._partitions)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while not self._is_ended.is_set():
            for place, records in consumer.poll(timeout_ms=100).items():
                for record in records:
                    if place.topic == topics.dead:
                        said = dict(record.headers)
                        self.dead[said["neuroloop_partition"], said["neuroloop_offset"]] = said
                    else:
                        self._add(record.key.decode(), json.loads(record.value))
        consumer.close()

    def _add(self, key: str, event: dict[str, Any]) -> None:
        self.n_messages += 1
        identity, line = f"{event['session']}/{event['id']}", canonical(event)
        assert event["stream_id"] == key
        known = self.lines.setdefault(key, {})
        if identity in known:
            if known[identity] != line:
                self.contradictions.append((key, known[identity], line))
            return
        known[identity] = line
        self.arrivals.append((time.perf_counter(), key))

    def differences(self, truth: dict[str, set[str]]) -> list[str]:
        """Return what is missing, too much or contradicts; empty where all is as in a replay."""
        found = [f"{key}: came again as {b}, was {a}" for key, a, b in self.contradictions]
        for key in sorted({*truth, *self.lines}):
            got, want = set(self.lines.get(key, {}).values()), truth.get(key, set())
            found += [f"{key}: missing {line}" for line in sorted(want - got)]
            found += [f"{key}: too much {line}" for line in sorted(got - want)]
        return found


def rhythm(name: str, n_samples: int, seed: int, channels: Sequence[str], sfreq: float = 250.0) -> Sent:
    """Return a stream with alternating rhythm, a flat stretch and a lost one."""
    rng = np.random.default_rng(seed)
    n = len(channels)
    t = np.arange(n_samples) / sfreq
    data = rng.standard_normal((n_samples, n)) * 8
    data += 40 * np.sin(2 * np.pi * 10 * t)[:, None] * (np.sin(2 * np.pi * 0.25 * t + seed) > 0)[:, None]
    data[n_samples // 3 : n_samples // 3 + 80] = 1.5
    stamps = 1000.0 + t
    stamps[n_samples // 2 :] += 0.2
    info = StreamInfo(name, "EEG", f"id-{name}", sfreq, tuple(channels), ("EEG",) * n, ("uV",) * n)
    markers = [Marker(1000.0 + 0.7 * k, f"m{k}", "marks") for k in range(int(n_samples / sfreq / 0.7) + 2)]
    return Sent(f"id-{name}", info, RawBlock(data, stamps), markers)
