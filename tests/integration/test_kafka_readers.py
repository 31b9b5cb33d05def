"""The readers of docs/kafka.md, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.sink import KafkaSink
from neuroloop.stream.contracts.chunks import StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event, canonical
from tests.integration.brokers import Broker

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")
JARS = ROOT.parent / "shared" / "kafka" / "jars"
INFO = StreamInfo("eeg", "EEG", "amp-1", 250.0, ("a", "b"), ("eeg",) * 2, ("uV",) * 2)
STATES = [
    Event("state", "eeg", 10 * k, k, k / 25, 0.1, {"state": f"s{k}", "previous": None, "confidence": 0.5})
    for k in range(5)
]


def publish(broker: Broker, prefix: str) -> None:
    """Send five states, and 100 rows that carry their index, half of them with stamps that must travel."""
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=prefix, publish=("states", "samples"))
    sink = KafkaSink(settings, INFO)
    sink.write(STATES)
    index = np.arange(100.0)
    stamps = 5.0 + index / 250
    stamps[50:] += 1e-3 * np.sin(index[50:])
    for first in range(0, 100, 25):
        part = slice(first, first + 25)
        data = np.stack([index[part], -index[part]], 1)
        sink.write_chunk("input", make_chunk(data, stamps[part].copy(), first, np.ones(25, np.bool_), INFO))
    sink.close()
    assert sink.books().waiting == 0


def snippet(kind: str, mark: str) -> str:
    """Return the block of the guide that has a mark."""
    found = [block for block in re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL) if mark in block]
    assert len(found) == 1, f"{len(found)} blocks with {mark!r}"
    return str(found[0])


def test_the_python_reader_needs_nothing_of_ours(broker: Broker, topic_prefix: str, tmp_path: Path) -> None:
    publish(broker, topic_prefix)
    script = tmp_path / "reader.py"
    script.write_text(snippet("python", "KafkaConsumer"), encoding="utf-8")
    schema = shutil.copy(ROOT / "stream" / "wire" / "sample_frame.avsc", tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", str(script), broker.bootstrap, topic_prefix, str(schema)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    states = [line for line in lines if line.startswith("eeg/")]
    assert states == [f"eeg/state/{10 * k}/{k} s{k}" for k in range(5)]
    rows = [line.split() for line in lines if line.startswith("amp-1 ")]
    assert [int(row[1]) for row in rows] == list(range(100))
    assert [float(row[3]) for row in rows] == list(map(float, range(100)))
    index = np.arange(100.0)
    stamps = 5.0 + index / 250
    stamps[50:] += 1e-3 * np.sin(index[50:])
    # a frame that begins at row 25 counts from its own first stamp: exact, as the stamps travel where the sum differs
    assert [float(row[2]) for row in rows] == stamps.tolist()


def assert_states(shown: str, between: str) -> None:
    """Check that a reader showed each state with its key, stream and session."""
    keys, lines = zip(*(line.split(between, 1) for line in shown.splitlines()), strict=True)
    events = [json.loads(line) for line in lines]
    assert set(keys) == {event["stream_id"] for event in events} == {"amp-1"}
    assert len({event["session"] for event in events}) == 1
    assert [canonical(event) for event in events] == [canonical(event) for event in STATES]


def command_of(mark: str, broker: Broker, prefix: str) -> tuple[list[str], dict[str, str]]:
    publish(broker, prefix)
    return ["sh", "-c", snippet("sh", mark)], os.environ | {"BOOTSTRAP": broker.bootstrap, "PREFIX": prefix}


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat on this machine")
def test_kcat_shows_the_states(apache_broker: Broker, topic_prefix: str) -> None:
    command, environment = command_of("kcat -b", apache_broker, topic_prefix)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=True)
    assert_states(done.stdout, " ")


@pytest.mark.skipif(
    shutil.which("java") is None or not list(JARS.glob("kafka-tools-[0-9]*.jar")),
    reason="no console consumer beside the checkout",
)
def test_the_console_consumer_shows_the_states(apache_broker: Broker, topic_prefix: str, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "kafka-console-consumer.sh"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\nexec java -cp "{JARS}/*" org.apache.kafka.tools.consumer.ConsoleConsumer "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    command, environment = command_of("kafka-console-consumer.sh", apache_broker, topic_prefix)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path, check=False
    )
    assert_states(done.stdout, "\t")
