"""What an operator meets: messages passed by, another configuration, more partitions, rights, hostile messages."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from neuroloop.stream.cli.main import main
from neuroloop.stream.wire.client_arguments import client_arguments
from tests.chaos import ANY_STREAM, DEMO, DEMO_CHANNELS
from tests.integration.brokers import ADMIN, PASSWORD, USER, Broker, records_of
from tests.integration.cluster import PATIENCE_S, Cluster, Collector, put, rhythm
from tests.integration.live import Start
from tests.integration.lsl import wait_until

pytestmark = pytest.mark.usefixtures("collected")
LOGIN = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}


@contextmanager
def administering(bootstrap: str, **options: Any) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, **options)
    try:
        yield admin
    finally:
        admin.close()


def test_a_group_passes_a_message_by_refuses_another_pipeline_and_stops_before_streams_move(
    apache_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, object] = {"reorder_frames": 1}
    cluster = Cluster(apache_broker.bootstrap, topic_prefix, tmp_path, start, ANY_STREAM, options, partitions=1)
    stream = rhythm("kept", 1000, 5, DEMO_CHANNELS)
    frames = stream.frames(50)
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, [stream])
        for frame in frames[:-1]:
            put(producer, cluster.message(frame))
        producer.flush()
        place = f"{topic_prefix}.samples:0:3"
        assert main(["worker", str(cluster.config_path), "--skip", place, "--reason", "it ends us"]) == 0, (
            capsys.readouterr()
        )
        assert f"{place} of b'id-kept' is on {topic_prefix}.dead" in capsys.readouterr().out
        worker = cluster.begin()
        wait_until(lambda: "rows_lost" in str(collector.lines), "the gap of the message", PATIENCE_S)
        (letter,) = collector.dead.values()
        assert letter["neuroloop_offset"] == b"3"
        assert letter["neuroloop_error"].startswith(b"skipped by ")
        assert letter["neuroloop_error"].endswith(b": it ends us")

        again = ["worker", str(cluster.config_path), "--set", "stages.1.hop_samples=32"]
        assert main(again) == 1
        err = capsys.readouterr().err
        assert f"pipeline must be that of the group {topic_prefix}." in err
        assert "end all its workers first, or give this one another worker.group" in err
        assert len(err.splitlines()) == 1

        with administering(cluster.bootstrap) as admin:
            admin.create_partitions({f"{topic_prefix}.samples": 2})
        err = worker.fails()
    rule = f"must have as many partitions as {topic_prefix}.samples (2), and streams must not move between them, got 1"
    assert rule in err
    assert len([event for event in collector.lines["id-kept"].values() if '"what":"start"' in event]) == 1


@pytest.mark.parametrize(
    ("kind", "name", "right", "said"),
    [
        (ResourceType.GROUP, "demo", ACLOperation.READ, "READ of group {}.demo"),
        (ResourceType.TOPIC, "demo.snapshots", ACLOperation.WRITE, "WRITE of topic {}.demo.snapshots"),
        (ResourceType.TOPIC, "samples", ACLOperation.READ, "READ of topic {}.samples"),
        (ResourceType.TOPIC, "dead", ACLOperation.WRITE, "WRITE of topic {}.dead"),
    ],
)
def test_a_right_that_is_missing_is_said_in_one_line_at_the_start(
    sasl_broker: Broker,
    topic_prefix: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: ResourceType,
    name: str,
    right: ACLOperation,
    said: str,
) -> None:
    monkeypatch.setenv("WORKER_TEST_PASSWORD", PASSWORD)
    with administering(sasl_broker.bootstrap, **LOGIN, sasl_plain_username=ADMIN, sasl_plain_password=ADMIN) as admin:
        names = [f"{topic_prefix}.{one}" for one in ("samples", "dead", "demo.snapshots")]
        admin.create_topics({one: {"num_partitions": 1, "replication_factor": 1} for one in names})
        resource = ResourcePattern(kind, f"{topic_prefix}.{name}")
        denied = ACL(f"User:{USER}", "*", right, ACLPermissionType.DENY, resource)
        seen = ACL("User:*", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, resource)
        admin.create_acls([denied, seen])
    arguments = ["worker", "demo"]
    for pair in (
        f"kafka.bootstrap={sasl_broker.bootstrap}", "kafka.security=SASL_PLAINTEXT", f"kafka.username={USER}",
        "kafka.password_env=WORKER_TEST_PASSWORD", f"kafka.prefix={topic_prefix}", "kafka.topics.partitions=1",
    ):  # fmt: skip
        arguments += ["--set", pair]
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert f"rights must be given to this user on {sasl_broker.bootstrap}, got no " in err
    assert said.format(topic_prefix) in err
    assert len(err.splitlines()) == 1
    assert PASSWORD not in err


def test_hostile_messages_are_dead_letters_and_no_secret_is_told(
    sasl_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    with administering(sasl_broker.bootstrap, **LOGIN, sasl_plain_username=ADMIN, sasl_plain_password=ADMIN) as admin:
        large = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "8000000"}}
        admin.create_topics({f"{topic_prefix}.samples": large})
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    login: dict[str, object] = {"security": "SASL_PLAINTEXT", "username": USER, "password_file": str(secret)}
    cluster = Cluster(sasl_broker.bootstrap, topic_prefix, tmp_path, start, DEMO, partitions=1, security=login)
    stream = rhythm("good", 1000, 3, DEMO_CHANNELS)
    truth = {stream.key: stream.truth(cluster.config)}
    first = cluster.message(stream.frames(50)[0])
    hostile = KafkaProducer(**client_arguments(cluster.settings), acks="all", max_request_size=8_000_000)
    topic = cluster.topics.samples
    hostile.send(topic, key=first.key, value=b"x" * 3_000_000)
    hostile.send(topic, key=first.key, value=first.value + b"\0" * 3_000_000, headers=list(first.headers))
    hostile.send(topic, key=b"k" * 2_900_000, value=b"short")
    hostile.send(topic, key=None, value=b"nobody's")
    hostile.send(topic, key=first.key, value=b"a", headers=[("ce_id", b"a"), ("ce_id", b"\xff"), ("x" * 60_000, b"y")])
    hostile.send(topic, key=first.key, value=b"b", headers=[(f"h{k}", b"v" * 1000) for k in range(2000)])
    hostile.close()
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, [stream])
        worker = cluster.begin("--metrics-port", "0")
        for frame in stream.frames(50):
            put(producer, cluster.message(frame))
        producer.flush()
        collector.wait_for(len(truth[stream.key]))
        wait_until(lambda: len(collector.dead) == 6, "six dead letters", PATIENCE_S)
        assert collector.differences(truth) == []
        (address,) = re.findall(r"http://[0-9.:]+/", worker.err)
        with urllib.request.urlopen(f"{address}readyz", timeout=10) as answer:
            assert b'"assigned": true' in answer.read()
        told = (
            Path(f"/proc/{worker.popen.pid}/cmdline").read_bytes()
            + Path(f"/proc/{worker.popen.pid}/environ").read_bytes()
        )
    worker.popen.terminate()
    out = worker.ends_well()
    assert PASSWORD not in out + worker.err
    assert PASSWORD.encode() not in told
    kept = [
        one
        for kind in (".demo.snapshots", ".demo.control", ".dead")
        for one in records_of(cluster.bootstrap, f"{topic_prefix}{kind}", **client_arguments(cluster.settings))
    ]
    assert kept
    assert all(PASSWORD.encode() not in (one.value or b"") for one in kept)
