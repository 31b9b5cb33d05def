"""What a live run publishes to Kafka: all of it, once, in order, whatever happens to the publisher and the broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.contracts.events import canonical
from neuroloop.stream.replay.replay import Replay
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.frames import decode_frame
from neuroloop.stream.wire.messages import Message, marker_from_json
from neuroloop.stream.wire.topics import Topics
from tests.integration.brokers import ApacheBroker, Broker, records_of
from tests.integration.live import (
    FAST,
    PATIENCE_S,
    SHARING,
    Program,
    Start,
    canonical_lines,
    metrics_port,
    scrape,
    summary_of,
    wait_for_lines,
)
from tests.integration.lsl import wait_until
from tests.integration.playing import Play, simulated
from tests.integration.test_bridge import engine_lines, send_all
from tests.stream.sources.simulated import simulated_rows

pytestmark = pytest.mark.usefixtures("lsl_session")

ALL = "kafka.publish=[predictions,states,commands,alerts,samples]"


def play_and_publish(
    start: Start,
    play: Play,
    run: Path,
    bootstrap: str,
    prefix: str,
    *options: object,
    seconds: float | None = 12.0,
    speed: float = 6.0,
) -> Program:
    """Send the simulator to a run that publishes."""
    name = f"sim-{prefix}"
    play(simulated(seconds, seed=11, block_s=2), name=name, speed=speed, chunk_samples=5)
    live: Program = start(
        "run", "demo", "--out", run, *SHARING, "--set", "source.kind=lsl", "--set", f"source.name={name}",
        "--set", f"markers.names=[{name}-markers]", "--set", f"kafka.bootstrap={bootstrap}", "--set",
        f"kafka.prefix={prefix}", "--set", "kafka.stream_id=sim", "--set", f"kafka.close_s={PATIENCE_S}",
        *FAST, *options,
    )  # fmt: skip
    return live


def published_lines(bootstrap: str, prefix: str, kinds: Sequence[str]) -> dict[str, list[str]]:
    """Return the events on Kafka by topic, each id once, in the order of their arrival."""
    lines: dict[str, list[str]] = {}
    for kind in kinds:
        by_id: dict[str, str] = {}
        for record in records_of(bootstrap, f"{prefix}.{kind}"):
            assert record.key == b"sim"
            event = json.loads(record.value)
            assert event["stream_id"] == "sim"
            line = canonical(event)
            assert by_id.setdefault(f"{event['session']}/{event['id']}", line) == line
        lines[kind] = list(by_id.values())
    return lines


def written_lines(run: Path, types: Sequence[str]) -> list[str]:
    return [line for line in canonical_lines(run) if json.loads(line)["type"] in types]


KINDS = {
    "predictions": ("prediction",),
    "states": ("state",),
    "alerts": ("stream", "marker", "artifact", "drift", "gap"),
}


def assert_published(run: Path, bootstrap: str, prefix: str) -> None:
    """Every event of the run is on its topic, as it stands in the file."""
    found = published_lines(bootstrap, prefix, tuple(KINDS))
    for kind, types in KINDS.items():
        expected = written_lines(run, types)
        assert expected
        assert sorted(found[kind]) == sorted(expected)
    assert found["predictions"] == written_lines(run, ("prediction",))


def test_events_and_samples_are_published_and_decide_the_same_again(
    start: Start, play: Play, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    broker = embedded_broker
    play_and_publish(start, play, tmp_path / "run", broker.bootstrap, topic_prefix, "--set", ALL).ends_well()
    books = summary_of(tmp_path / "run")["kafka"]
    assert books["messages"]["balanced"]
    assert books["messages"]["in"] == books["messages"]["sent"] > 50
    assert books["messages"]["dropped"] == {}
    assert books["rings"] == {"samples_lost": 0, "events_lost": 0}
    assert_published(tmp_path / "run", broker.bootstrap, topic_prefix)
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=2.0)), 12.0)
    stream = RecordedStream(made.info, made.data, made.timestamps)
    Replay(load_config("demo"), stream, made.markers, tmp_path / "again").run()
    expected = canonical_lines(tmp_path / "again")
    assert canonical_lines(tmp_path / "run") == expected
    assert engine_lines("demo", broker, topic_prefix) == expected


def test_a_publisher_that_is_killed_costs_nothing_and_the_hot_loop_does_not_notice(
    start: Start, play: Play, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    run = tmp_path / "run"
    live = play_and_publish(
        start, play, run, embedded_broker.bootstrap, topic_prefix, "--set", ALL, "--metrics-port", 0, seconds=None
    )
    topics = Topics(topic_prefix)
    wait_for_lines(run, 10)
    port = metrics_port(live)

    def metrics() -> dict[str, float]:
        return {sample.name: sample.value for family in parse_text(scrape(port)) for sample in family.samples}

    wait_until(lambda: metrics().get("neuroloop_kafka_messages_sent_total", 0) > 0, "messages sent", PATIENCE_S)
    wait_until(lambda: metrics()["neuroloop_kafka_up"] == 1, "Kafka up", PATIENCE_S)
    assert metrics()["neuroloop_kafka_spool_bytes"] == 0
    wait_until(lambda: len(records_of(embedded_broker.bootstrap, topics.markers)) >= 2, "two markers", PATIENCE_S)
    live.child("publisher").kill()
    live.says("the publisher process died (exit code -9), starting it again")
    n_lines = len(canonical_lines(run))
    wait_for_lines(run, n_lines + 10)
    live.popen.terminate()
    live.ends_well()
    summary = summary_of(run)
    n = summary["samples"]["in"]
    assert summary["rings"] == {"samples_lost": 0, "events_lost": 0}
    books = summary["kafka"]
    assert books["messages"]["balanced"]
    assert books["rings"] == {"samples_lost": 0, "events_lost": 0}
    assert_published(run, embedded_broker.bootstrap, topic_prefix)
    rows: set[int] = set()
    for record in records_of(embedded_broker.bootstrap, topics.samples):
        frame = decode_frame(record.value)
        rows.update(range(frame.first_sample, frame.next_sample))
    assert rows == set(range(n))
    marks: dict[bytes, bytes] = {}
    for record in records_of(embedded_broker.bootstrap, topics.markers):
        marks.setdefault(dict(record.headers)["ce_id"].rpartition(b"/")[2], record.value)
        assert marks[dict(record.headers)["ce_id"].rpartition(b"/")[2]] == record.value
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=2.0)), n / 250 + 4.0).markers
    assert {int(k): marker_from_json(value).time for k, value in marks.items()} == {
        k: marker.time for k, marker in enumerate(made[: len(marks)])
    }
    assert books["publisher"] == {"deaths": 1, "given_up": None}


def test_a_broker_that_is_killed_and_comes_back_gets_everything(
    start: Start, play: Play, tmp_path: Path, restartable_broker: ApacheBroker, topic_prefix: str
) -> None:
    run = tmp_path / "run"
    live = play_and_publish(
        start, play, run, restartable_broker.bootstrap, topic_prefix, "--set", "kafka.overflow=spool", "--set",
        f"kafka.spool_dir={tmp_path / 'spool'}", seconds=None, speed=3.0,
    )  # fmt: skip
    wait_for_lines(run, 10)
    restartable_broker.kill()
    n_before = run.joinpath("events.jsonl").read_bytes().count(b"\n")
    wait_for_lines(run, n_before + 20)  # the run goes on without a broker
    restartable_broker.start()
    live.popen.terminate()
    live.ends_well()
    books = summary_of(run)["kafka"]["messages"]
    assert books["balanced"]
    assert books["waiting_in_spool"] == 0
    assert books["dropped"] == {}
    assert_published(run, restartable_broker.bootstrap, topic_prefix)


def test_a_broker_that_never_comes_costs_the_messages_and_not_the_run(
    start: Start, play: Play, tmp_path: Path, topic_prefix: str
) -> None:
    run = tmp_path / "run"
    options = ("--set", "kafka.close_s=0.2", "--set", "kafka.connect_s=1", "--seconds", 2)
    live = play_and_publish(start, play, run, "127.0.0.1:9", topic_prefix, *options, seconds=None, speed=2.0)
    live.ends_well()
    assert "kafka.bootstrap must be a broker that answers, got '127.0.0.1:9'" in live.err
    assert summary_of(run)["elapsed_s"] >= 2.0  # the run ended by itself, the stream goes on
    books = summary_of(run)["kafka"]["messages"]
    assert books["balanced"]
    assert books["sent"] == 0
    assert books["dropped"] == {"closed": books["in"]}
    assert books["in"] > 0


def test_a_spool_dir_of_another_process_is_refused_before_the_run_begins(
    start: Start, play: Play, tmp_path: Path, topic_prefix: str
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    options = ("--set", "kafka.overflow=spool", "--set", f"kafka.spool_dir={tmp_path / 'file'}")
    live = play_and_publish(start, play, tmp_path / "run", "127.0.0.1:9", topic_prefix, *options)
    assert "kafka.spool_dir must be a folder to write in" in live.fails()


@pytest.mark.parametrize(("kind", "publish"), [("apache", "[]"), ("embedded", "[states]")])
def test_what_a_run_cannot_read_goes_to_the_dead_letters_and_is_in_its_books(
    start: Start, tmp_path: Path, request: pytest.FixtureRequest, topic_prefix: str, kind: str, publish: str
) -> None:
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix)
    topics = Topics(topic_prefix)
    producer = Producer(settings, ("samples", "markers"))
    for number in range(3):
        producer.offer(Message(topics.samples, b"sim", b"junk %d" % number, ()))
    producer.offer(Message(topics.markers, b"sim", b"no marker", ()))
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    send_all(broker, topic_prefix, simulated_rows(Simulator(SimulatorSettings(seed=11)), 12.0))
    run = tmp_path / "run"
    live = start(
        "run", "demo", "--out", run, *SHARING, *FAST, "--set", "source.kind=kafka", "--set",
        "source.stream_id=sim", "--set", "source.start=earliest", "--set", f"kafka.bootstrap={broker.bootstrap}",
        "--set", f"kafka.prefix={topic_prefix}", "--set", f"kafka.publish={publish}",
    )  # fmt: skip
    live.ends_well()
    summary = summary_of(run)
    assert summary["samples"]["in"] == 3000
    source = summary["kafka"]["source"]
    assert source["unreadable"] == {"no frame": 3, "no marker": 1}
    assert source["dead_letters"] == {"sent": 4, "dropped": 0, "overwritten": 0, "too_large": 0, "unsent": 0}
    records = records_of(broker.bootstrap, topics.dead)
    assert sorted(record.value for record in records) == [b"junk 0", b"junk 1", b"junk 2", b"no marker"]
    assert {dict(record.headers)["neuroloop_topic"] for record in records} == {
        topics.samples.encode(), topics.markers.encode(),
    }  # fmt: skip
    assert live.err.count("is left out, and so will be others") == 2
    assert summary["kafka"].get("messages", {"balanced": True})["balanced"]
    assert ("messages" in summary["kafka"]) == (publish != "[]")
