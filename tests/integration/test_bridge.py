"""The bridge between LSL and Kafka: what is decided on the other side is what a replay decides, byte for byte."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.errors import StreamEnded
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.assembly.build import build
from neuroloop.stream.cli.main import main
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.replay.replay import Replay
from neuroloop.stream.sources.kafka.markers import KafkaMarkers
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.sources.lsl.markers import LslMarkers
from neuroloop.stream.sources.lsl.network import StreamQuery
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, select_stream
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.frames import Frame, decode_frame, last_frame
from neuroloop.stream.wire.messages import StreamDescription, description_message, frame_message, marker_message
from neuroloop.stream.wire.topics import Topics
from tests.integration.brokers import USER, ApacheBroker, Broker, records_of
from tests.integration.cluster import SESSION, Sent
from tests.integration.live import FAST, PATIENCE_S, SHARING, Start, canonical_lines, summary_of
from tests.integration.lsl import find, make_outlet, read_samples, wait_until
from tests.integration.playing import Play, recorded, simulated
from tests.integration.test_live_equality import bundle_for, write_config
from tests.stream.sources.simulated import Simulated, simulated_rows

pytestmark = pytest.mark.usefixtures("lsl_session")


AMP = StreamInfo("amp", "EEG", "amp", 250.0, ("x",), ("eeg",), ("uV",))


def frame_of(first: int, *, session: int = 5) -> Frame:
    """Return 10 rows that carry their own index."""
    index = np.arange(first, first + 10, dtype=np.float64)
    return Frame("amp", first, "received", 250.0, index[:, None], index / 250.0, session)


def kafka_of(broker: Broker, prefix: str) -> tuple[str, ...]:
    """Return the options of a bridge that name broker and topics."""
    return ("--bootstrap", broker.bootstrap, "--prefix", prefix, "--resolve", str(PATIENCE_S))


def engine_lines(config_path: object, broker: Broker, prefix: str) -> list[str]:
    """Run the engine over all that is on Kafka, in this process; return the canonical lines."""
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=prefix)
    source = KafkaSource(settings, start="earliest")
    markers = KafkaMarkers(settings, source.description.stream, is_from_start=True)
    config = load_config(str(config_path))
    engine = Engine(config.source, build(config, source.info).pipeline, first_sample=source.description.first_sample)
    events = []
    try:
        assert markers.settle(PATIENCE_S)
        engine.add_markers(markers.read())
        while True:
            block = source.read(PATIENCE_S)
            assert block is not None, "nothing came from Kafka"
            events += engine.push_block(block)
    except StreamEnded:
        events += engine.finish()
    finally:
        source.close()
        markers.close()
    # a late marker belongs to a sample that is over: files are in order, a live engine cannot be
    return [canonical(event) for event in sorted(events, key=lambda event: event.order)]


def send_all(broker: Broker, prefix: str, made: Simulated) -> None:
    """Put a stream on Kafka as a bridge would, under the id ``sim``."""
    topics = Topics(prefix)
    sent = Sent("sim", made.info, RawBlock(made.data, made.timestamps), made.markers)
    messages = [
        description_message(topics, sent.description),
        *(marker_message(topics, one, stream="sim", k=k, session=SESSION) for k, one in enumerate(made.markers)),
        *(frame_message(topics, frame) for frame in sent.frames(25)),
    ]
    producer = Producer(KafkaSettings(bootstrap=broker.bootstrap, prefix=prefix), ("samples", "streams", "markers"))
    for message in messages:
        producer.offer(message)
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    assert producer.books().arrived == len(messages)


def books_of(path: Path) -> dict[str, Any]:
    books: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert books["samples"]["balanced"]
    assert books["markers"]["balanced"]
    return books


def test_a_real_recording_over_lsl_and_kafka_decides_as_its_replay(
    start: Start, play: Play, shared_data: Path, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    broker = embedded_broker
    recording = shared_data / "xdf" / "openbci-emg" / "markersPlusEKG.xdf"
    stream = select_stream(open_recording(recording))
    config = write_config(bundle_for(stream.info, tmp_path / "bundle"), tmp_path / "emg.yaml")
    name = f"emg-{topic_prefix}"
    play(recorded(recording), name=name, speed=2.5, chunk_samples=7)  # a late marker finds its sample for 10 s of it
    bridge = start(
        "bridge", "to-kafka", "--name", name, "--markers", f"{name}-markers", "--stream-id", "emg",
        *kafka_of(broker, topic_prefix), "--summary", tmp_path / "books.json",
    )  # fmt: skip
    live = start(
        "run", config, "--out", tmp_path / "live", *SHARING, *FAST, "--set", "source.kind=kafka", "--set",
        "source.stream_id=emg", "--set", "source.start=earliest", "--set", f"kafka.bootstrap={broker.bootstrap}",
        "--set", f"kafka.prefix={topic_prefix}", "--set", "kafka.publish=[]",
    )  # fmt: skip
    line = bridge.ends_well()
    n = stream.n_samples
    assert line.startswith(f"to-kafka 'emg': samples in {n} = sent {n} + dropped 0; markers in ")
    assert books_of(tmp_path / "books.json")["ended"] == "finished"
    assert main(["replay", str(recording), "--config", str(config), "--out", str(tmp_path / "again")]) == 0
    expected = canonical_lines(tmp_path / "again")
    for kind in ("marker", "prediction", "state", "stream"):
        assert any(f'"type":"{kind}"' in one for one in expected), f"no {kind} among the events"
    assert engine_lines(config, broker, topic_prefix) == expected
    live.ends_well()
    assert canonical_lines(tmp_path / "live") == expected
    assert summary_of(tmp_path / "live")["ended"] == "finished"


def test_the_relay_gives_back_what_was_sent_and_is_taken_by_name_only(
    start: Start, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=2.0)), 12.0)
    send_all(embedded_broker, topic_prefix, made)
    name = f"sim-{topic_prefix}"
    relay = start(
        "bridge", "to-lsl", "sim", "--name", f"{name}-relay", "--start", "earliest", "--wait",
        *kafka_of(embedded_broker, topic_prefix),
    )  # fmt: skip
    relay.says(f"{name}-relay: 8 channels at 250 Hz")
    found, marks = find(f"{name}-relay"), find(f"{name}-relay-markers")
    assert found.is_monitoring
    assert marks.is_monitoring
    assert (found.type, marks.type) == ("neuroloop-signal", "neuroloop-markers")
    config = load_config("demo")
    markers = LslMarkers((StreamQuery(name=marks.name),))
    source = LslSource(found)
    try:
        assert markers.settle(PATIENCE_S)
        engine = Engine(config.source, build(config, source.info).pipeline)
        source.open(PATIENCE_S)
        received: list[Marker] = []

        def has_all_markers() -> bool:
            received.extend(markers.read())
            return len(received) == len(made.markers)

        wait_until(has_all_markers, "all markers", PATIENCE_S)
        engine.add_markers(received)
        events = engine.push_block(read_samples(source, 3000, PATIENCE_S)) + engine.finish()
    finally:
        source.close()
        markers.close()
    line = relay.ends_well()
    n_markers = len(made.markers)
    assert line == (
        f"to-lsl 'sim': samples in 3000 = pushed 3000 + dropped 0; markers in {n_markers} = pushed {n_markers} + "
        "dropped 0; reconnections 0\n"
    )
    stream = RecordedStream(made.info, made.data, made.timestamps)
    Replay(config, stream, made.markers, tmp_path / "again").run()
    assert [canonical(event) for event in events] == canonical_lines(tmp_path / "again")


def test_what_does_not_get_through_a_relay_is_in_its_books_and_with_the_dead_letters(
    start: Start, tmp_path: Path, broker: Broker, topic_prefix: str
) -> None:
    topics, settings = Topics(topic_prefix), KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix)
    frames = {first: frame_message(topics, frame_of(first)) for first in range(0, 300, 10)}
    marker = marker_message(topics, Marker(0.5, "a", "cues"), stream="amp", k=0, session=5)
    sent = [
        description_message(topics, StreamDescription("amp", AMP, 5)),
        marker,
        marker._replace(value=b'{"time":NaN,"label":"a","stream":"cues"}'),
        frame_message(topics, frame_of(0, session=4)),  # of a session before the one asked for
        frames[0], frames[10], frames[10], frames[0]._replace(value=b"junk"),
        *(frames[first] for first in range(40, 300, 10)),  # 20 to 39 come too late
        frames[20],
        frame_message(topics, last_frame(stream="amp", first_sample=300, counts="received", sfreq=250.0,
                                         n_channels=1, session=5)),
    ]  # fmt: skip
    producer = Producer(settings, ("samples", "streams", "markers"))
    for message in sent:
        producer.offer(message)
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    relay = start(
        "bridge", "to-lsl", "amp", "--name", f"relay-{topic_prefix}", "--start", "earliest",
        *kafka_of(broker, topic_prefix), "--summary", tmp_path / "books.json",
    )  # fmt: skip
    line = relay.ends_well()
    assert line == (
        "to-lsl 'amp': samples in 300 = pushed 280 + dropped 20 (10 late, 10 repeated); markers in 1 = pushed 1 + "
        "dropped 0; reconnections 0; samples lost on the way 10; unreadable messages 2\n"
    )
    books = books_of(tmp_path / "books.json")
    assert books["unreadable"] == {"no frame": 1, "no marker": 1}
    assert books["dead_letters"] == {"sent": 2, "dropped": 0}
    assert sorted(record.value for record in records_of(broker.bootstrap, topics.dead)) == [
        b"junk", b'{"time":NaN,"label":"a","stream":"cues"}',
    ]  # fmt: skip
    assert relay.err.count("is left out, and so will be others") == 2


def test_a_bridge_that_is_stopped_ends_the_stream_and_one_that_is_kept_open_does_not(
    start: Start, play: Play, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    name = f"amp-{topic_prefix}"
    play(simulated(None), name=name, stamps="clock", chunk_samples=5)
    for keeps_open in (True, False):
        prefix = f"{topic_prefix}-{keeps_open}"
        bridge = start(
            "bridge", "to-kafka", "--name", name, "--no-markers", *kafka_of(embedded_broker, prefix), "--summary",
            tmp_path / f"{keeps_open}.json", *(("--keep-open",) if keeps_open else ()),
        )  # fmt: skip
        settings = KafkaSettings(bootstrap=embedded_broker.bootstrap, prefix=prefix)
        source = KafkaSource(settings, start="earliest", resolve_s=PATIENCE_S)
        n_rows = 0
        while n_rows < 50:
            block = source.read(PATIENCE_S)
            assert block is not None
            n_rows += len(block.timestamps)
        bridge.popen.send_signal(signal.SIGTERM)
        bridge.ends_well()
        books = books_of(tmp_path / f"{keeps_open}.json")
        assert books["ended"] == "stopped"
        n_sent = books["samples"]["out"]
        assert n_sent == books["samples"]["in"] >= n_rows
        while n_rows < n_sent:
            block = source.read(PATIENCE_S)
            assert block is not None
            n_rows += len(block.timestamps)
        assert n_rows == n_sent
        if keeps_open:
            assert source.read(0.2) is None
        else:
            with pytest.raises(StreamEnded, match="is over, its producer said so"):
                source.read(PATIENCE_S)
        # the sender's clock: stamps plus the offset are now, on this machine
        offset = source.description.epoch_offset_s
        assert offset is not None
        assert abs(offset - books["epoch_offset_s"]) < 5.0
        source.close()


def test_a_sender_that_comes_back_goes_on_with_the_index_and_is_said(
    start: Start, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    name = f"amp-{topic_prefix}"
    outlet = make_outlet(name, sfreq=250.0)
    bridge = start(
        "bridge", "to-kafka", "--name", name, "--no-markers", *kafka_of(embedded_broker, topic_prefix), "--summary",
        tmp_path / "books.json", "--reconnect", 60,
    )  # fmt: skip
    settings = KafkaSettings(bootstrap=embedded_broker.bootstrap, prefix=topic_prefix)
    source = KafkaSource(settings, start="earliest", resolve_s=PATIENCE_S)
    values: list[float] = []

    def push_and_read(first: float, n: int) -> None:
        wait_until(outlet.have_consumers, "the bridge listens", PATIENCE_S)
        outlet.push_chunk(np.arange(first, first + n)[:, None].repeat(2, axis=1))
        wanted = len(values) + n
        while len(values) < wanted:
            block = source.read(PATIENCE_S)
            assert block is not None
            values.extend(block.data[:, 0].tolist())

    push_and_read(0.0, 100)
    del outlet
    bridge.says("source must keep sending, got a stream that stopped")
    outlet = make_outlet(name, sfreq=250.0)
    push_and_read(100.0, 100)
    assert values == list(range(200))
    assert source.counts == {}
    bridge.popen.send_signal(signal.SIGINT)
    bridge.ends_well()
    source.close()
    books = books_of(tmp_path / "books.json")
    assert (books["n_reconnections"], books["samples"]["in"], books["samples"]["out"]) == (1, 200, 200)
    told = [json.loads(record.value) for record in records_of(embedded_broker.bootstrap, f"{topic_prefix}.alerts")]
    assert [(one["type"], one["what"], one["sample"]) for one in told] == [
        ("stream", "lost", 99), ("stream", "found", 99),
    ]  # fmt: skip


def test_without_a_broker_everything_is_counted_and_the_cause_is_said(
    start: Start, play: Play, tmp_path: Path, topic_prefix: str
) -> None:
    name = f"sim-{topic_prefix}"
    play(simulated(8.0, n_channels=64), name=name, speed=8.0, chunk_samples=5)
    bridge = start(
        "bridge", "to-kafka", "--name", name, "--markers", f"{name}-markers", "--bootstrap", "127.0.0.1:9", "--prefix",
        topic_prefix, "--resolve", PATIENCE_S, "--set", "buffer_mb=0.2", "--set", "close_s=0.2", "--set", "connect_s=1",
        "--summary", tmp_path / "books.json",
    )  # fmt: skip
    status, line, err = bridge.finish()
    assert status == 1
    books = books_of(tmp_path / "books.json")
    samples = books["samples"]
    assert (samples["in"], samples["out"], samples["waiting"]) == (2000, 0, 0)
    assert set(samples["dropped"]) == {"buffer full", "closed"}
    assert "samples in 2000 = sent 0 + dropped 2000 (" in line
    n_markers = books["markers"]["in"]
    last = err.splitlines()[-1]
    assert "kafka.bootstrap must be a broker that answers, got '127.0.0.1:9'" in last
    assert last.endswith(f"; dropped 2000 of 2000 samples and {n_markers} of {n_markers} markers")
    assert "Traceback" not in err


def test_with_refused_credentials_a_bridge_fails_with_the_cause(
    start: Start, play: Play, sasl_broker: Broker, topic_prefix: str
) -> None:
    name = f"sim-{topic_prefix}"
    play(simulated(4.0), name=name, speed=4.0)
    bridge = start(
        "bridge", "to-kafka", "--name", name, "--no-markers", *kafka_of(sasl_broker, topic_prefix), "--set",
        "security=SASL_PLAINTEXT", "--set", f"username={USER}", "--set", "password_env=LAB_KAFKA", "--set", "close_s=1",
        env={"LAB_KAFKA": "wrong"},
    )  # fmt: skip
    last = bridge.fails().splitlines()[-1]
    assert "kafka.username and its password must be accepted by 127.0.0.1:" in last
    assert last.endswith("; dropped 1000 of 1000 samples and 0 of 0 markers")


def test_what_a_spool_keeps_is_sent_by_the_next_bridge(
    start: Start, play: Play, tmp_path: Path, embedded_broker: Broker, topic_prefix: str
) -> None:
    name = f"sim-{topic_prefix}"
    spool = ("--set", "overflow=spool", "--set", f"spool_dir={tmp_path / 'spool'}", "--set", "close_s=0.5")
    for number, bootstrap in enumerate(("127.0.0.1:9", embedded_broker.bootstrap)):
        player = play(simulated(4.0), name=name, speed=4.0)
        bridge = start(
            "bridge", "to-kafka", "--name", name, "--no-markers", "--bootstrap", bootstrap, "--prefix", topic_prefix,
            *spool, "--set", "connect_s=1", "--resolve", PATIENCE_S, "--summary", tmp_path / f"{number}.json",
        )  # fmt: skip
        bridge.ends_well()
        player.ends_well()
        waiting = (
            f"1000 samples and 0 markers wait in {tmp_path / 'spool'} for the next bridge that uses it: kafka.boot"
        )
        assert (waiting in bridge.err) == (number == 0)
    first, second = (books_of(tmp_path / f"{number}.json")["samples"] for number in (0, 1))
    assert (first["out"], first["waiting"]) == (0, 1000)
    assert (second["in"], second["out"], second["waiting"]) == (1000, 1000, 0)
    frames = [decode_frame(one.value) for one in records_of(embedded_broker.bootstrap, f"{topic_prefix}.samples")]
    assert sum(len(frame) for frame in frames) == 2000
    assert len({frame.session for frame in frames}) == 2


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("to-kafka",), "bootstrap must be given (--bootstrap HOST:PORT, or --config CONFIG), got nothing"),
        (("to-kafka", "--config", "demo"), "config must have a section 'kafka', got none in 'demo'"),
        (("to-lsl", "--bootstrap", "127.0.0.1:9", "--seconds", "0"), "seconds must be a number above 0, got 0.0"),
        (
            ("to-kafka", "--bootstrap", "h:1", "--markers", "a", "--no-markers"),
            "--markers must be left out with --no-markers, got both",
        ),
        (
            ("to-lsl", "--bootstrap", "127.0.0.1:9", "--set", "connect_s=0.5"),
            "kafka.bootstrap must be a broker that answers, got '127.0.0.1:9'",
        ),
    ],
)
def test_a_bridge_that_cannot_work_says_so_in_one_line(
    arguments: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bridge", *arguments]) == 1
    err = capsys.readouterr().err
    assert fault in err
    assert err.count("\n") == 1


def test_a_run_on_kafka_says_when_its_broker_is_away_and_goes_on(
    start: Start, play: Play, tmp_path: Path, restartable_broker: ApacheBroker, topic_prefix: str
) -> None:
    broker = Broker("apache", restartable_broker.bootstrap)
    name = f"sim-{topic_prefix}"
    play(simulated(None, seed=11), name=name, speed=4.0, chunk_samples=5)
    bridge = start(
        "bridge", "to-kafka", "--name", name, "--markers", f"{name}-markers", "--stream-id", "sim",
        *kafka_of(broker, topic_prefix), "--set", f"close_s={PATIENCE_S}", "--summary", tmp_path / "books.json",
    )  # fmt: skip
    run = tmp_path / "live"
    live = start(
        "run", "demo", "--out", run, *SHARING, *FAST, "--set", "source.kind=kafka", "--set",
        "source.stream_id=sim", "--set", "source.start=earliest", "--set", f"kafka.bootstrap={broker.bootstrap}",
        "--set", f"kafka.prefix={topic_prefix}", "--set", "kafka.publish=[]",
    )  # fmt: skip

    def says(text: str) -> bool:
        assert live.popen.poll() is None, live.err
        events = run / "events.jsonl"
        return events.exists() and text in events.read_text(encoding="utf-8")

    wait_until(lambda: says("/prediction/"), "predictions", PATIENCE_S)
    restartable_broker.kill()
    wait_until(lambda: says('"what":"lost"'), "lost is said", PATIENCE_S)
    restartable_broker.start()
    wait_until(lambda: says('"what":"found"'), "found is said", PATIENCE_S)
    bridge.popen.send_signal(signal.SIGTERM)  # the stream is over with it
    assert "dropped 0" in bridge.ends_well()
    live.ends_well()
    assert summary_of(run)["samples"]["in"] == books_of(tmp_path / "books.json")["samples"]["out"] > 0
    lines = canonical_lines(run)
    kept = [line for line in lines if '"what":"lost"' not in line and '"what":"found"' not in line]
    assert len(lines) - len(kept) >= 2
    # markers and samples travel apart: one that was more than a second later than its sample stands later in the file
    assert sorted(kept) == sorted(engine_lines("demo", broker, topic_prefix))
