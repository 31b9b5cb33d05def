"""Workers as a user starts them: killed, stopped, refused; the events are those of a replay, each once."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from neuroloop.stream.cli.main import main
from tests.chaos import ANY_STREAM, DEMO, DEMO_CHANNELS, Plan, recorded_streams, run_chaos, simulated_streams
from tests.integration.brokers import PASSWORD, USER, ApacheBroker, Broker, embedded
from tests.integration.cluster import PATIENCE_S, Cluster, Collector, put, rhythm
from tests.integration.live import Start
from tests.integration.lsl import wait_until

pytestmark = pytest.mark.usefixtures("collected")


def test_whatever_is_killed_the_events_are_those_of_a_replay(
    embedded_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    cluster = Cluster(embedded_broker.bootstrap, topic_prefix, tmp_path, start, DEMO, session_s=3.0)
    outcome = run_chaos(cluster, simulated_streams(6, 2500), Plan(seed=1, seconds=6.0))
    assert not outcome.differences, outcome.log
    assert outcome.n_dead == outcome.n_spoilt > 0


@pytest.mark.slow
@pytest.mark.shared
def test_real_recordings_survive_dead_workers_and_a_dead_broker(
    restartable_broker: ApacheBroker, shared_data: Path, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    def restart() -> None:
        restartable_broker.kill()
        restartable_broker.start()

    streams = recorded_streams(shared_data, 32, 1500)
    assert len(streams) == 32
    cluster = Cluster(restartable_broker.bootstrap, topic_prefix, tmp_path, start, ANY_STREAM)
    outcome = run_chaos(cluster, streams, Plan(seed=2, seconds=8.0, n_kills=1, restart_broker=restart))
    assert not outcome.differences, outcome.log
    assert outcome.n_dead == outcome.n_spoilt > 0


def test_a_worker_that_is_told_to_end_keeps_everything_and_repeats_nothing(
    embedded_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    cluster = Cluster(embedded_broker.bootstrap, topic_prefix, tmp_path, start, DEMO, partitions=2, session_s=30.0)
    streams = [rhythm(f"s{k}", 2500, k, DEMO_CHANNELS) for k in range(3)]
    truth = {stream.key: stream.truth(cluster.config) for stream in streams}
    frames = [frame for group in zip(*(stream.frames(25) for stream in streams), strict=True) for frame in group]
    half = len(frames) // 2
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, streams)
        for frame in frames[:half]:
            put(producer, cluster.message(frame))
        producer.flush()
        first = cluster.begin()
        collector.wait_for(sum(map(len, truth.values())) // 3)
        first.popen.send_signal(signal.SIGTERM)
        status, _, err = first.finish()
        assert status == 0, err
        second = cluster.begin("--metrics-port", "0")
        for frame in frames[half:]:
            put(producer, cluster.message(frame))
        producer.flush()
        collector.wait_for(sum(map(len, truth.values())))
        assert collector.differences(truth) == []
        assert collector.n_messages == collector.n_events
        assert "streams restored" in second.err
        second.popen.terminate()
        second.ends_well()


def test_a_worker_that_packs_its_events_reads_frames_packed_in_any_way(
    apache_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    cluster = Cluster(
        apache_broker.bootstrap, topic_prefix, tmp_path, start, DEMO, partitions=1, security={"compression": "zstd"}
    )
    stream = rhythm("packed", 2500, 3, DEMO_CHANNELS)
    truth = {stream.key: stream.truth(cluster.config)}
    frames = stream.frames(25)
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, [stream])
        for part, kind in enumerate(("gzip", "lz4", "snappy", "zstd", None)):
            with cluster.producer(compression_type=kind) as packing:
                for frame in frames[part * 20 : (part + 1) * 20 + (kind is None)]:
                    put(packing, cluster.message(frame))
        worker = cluster.begin()
        collector.wait_for(len(truth[stream.key]))
        assert collector.differences(truth) == []
    worker.popen.terminate()
    worker.ends_well()


def test_the_snapshots_of_ended_streams_are_removed(
    embedded_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    options: dict[str, object] = {"forget_s": 0.0, "snapshot_s": 0.2}
    cluster = Cluster(embedded_broker.bootstrap, topic_prefix, tmp_path, start, DEMO, options, partitions=1)
    stream = rhythm("gone", 1000, 4, DEMO_CHANNELS)
    with cluster.producer() as producer:
        cluster.describe(producer, [stream])
        for frame in stream.frames(50):
            put(producer, cluster.message(frame))
    cluster.begin()
    consumer = KafkaConsumer(bootstrap_servers=cluster.bootstrap, auto_offset_reset="earliest")
    place = TopicPartition(f"{topic_prefix}.demo.snapshots", 0)
    found: list[bytes | None] = []

    def is_removed() -> bool:
        for records in consumer.poll(timeout_ms=100).values():
            found.extend(record.value for record in records)
        return bool(found) and found[-1] is None

    wait_until(lambda: place.topic in consumer.topics(), "the changelog", PATIENCE_S)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    wait_until(is_removed, "a tombstone", PATIENCE_S)
    consumer.close()
    assert len(found) >= 2


def test_a_worker_with_another_plan_refuses(
    apache_broker: Broker, topic_prefix: str, tmp_path: Path, start: Start
) -> None:
    cluster = Cluster(apache_broker.bootstrap, topic_prefix, tmp_path, start, ANY_STREAM, partitions=1)
    stream = rhythm("kept", 2000, 5, DEMO_CHANNELS)
    frames = stream.frames(50)
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, [stream])
        for frame in frames[:20]:
            put(producer, cluster.message(frame))
        producer.flush()
        first = cluster.begin()
        collector.wait_for(3)
        first.popen.send_signal(signal.SIGTERM)
        first.ends_well()
        second = cluster.begin("--set", "stages.1.hop_samples=32")
        put(producer, cluster.message(frames[20]))
        producer.flush()
        err = second.fails()
    assert f"plan of stream '{stream.key}' must be that of its snapshot" in err
    assert "worker.group" in err


def refused(capsys: pytest.CaptureFixture[str], *pairs: str) -> str:
    """Try to start a worker in this process, with these settings; return why it will not."""
    capsys.readouterr()
    assert main(["worker", "demo", *(part for pair in pairs for part in ("--set", pair))]) == 1
    return capsys.readouterr().err


def test_brokers_that_are_not_there_are_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        err = refused(capsys, f"kafka.bootstrap={address}", "kafka.connect_s=1")
    assert "kafka.bootstrap must be a broker that answers" in err
    assert len(err.splitlines()) == 1


def test_a_worker_ends_when_it_is_told_though_the_brokers_are_gone(start: Start) -> None:
    with embedded() as broker:
        worker = start("worker", "demo", "--set", f"kafka.bootstrap={broker.bootstrap}", "--set", "worker.stop_s=3")
        worker.says("is up", PATIENCE_S)
    worker.popen.terminate()
    assert "told to end" in worker.ends_well() + worker.err


def test_a_configuration_without_brokers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "kafka.bootstrap must be given for a worker" in refused(capsys)


def test_a_missing_topic_is_said_in_one_line(
    embedded_broker: Broker, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused(
        capsys,
        f"kafka.bootstrap={embedded_broker.bootstrap}",
        f"kafka.prefix={topic_prefix}",
        "kafka.topics.create=false",
    )
    assert "kafka.topics.create must be true, or these topics made beforehand" in err
    assert len(err.splitlines()) == 1


def test_refused_credentials_are_said_in_one_line(sasl_broker: Broker, start: Start, topic_prefix: str) -> None:
    arguments = ["worker", "demo"]
    for pair in (
        f"kafka.bootstrap={sasl_broker.bootstrap}", "kafka.security=SASL_PLAINTEXT", f"kafka.username={USER}",
        "kafka.password_env=WORKER_TEST_PASSWORD", f"kafka.prefix={topic_prefix}", "kafka.connect_s=20",
    ):  # fmt: skip
        arguments += ["--set", pair]
    err = start(*arguments, env={"WORKER_TEST_PASSWORD": PASSWORD + "x"}).fails()
    assert "kafka.username and its password must be accepted" in err
    assert PASSWORD not in err
    assert len(err.splitlines()) == 1
