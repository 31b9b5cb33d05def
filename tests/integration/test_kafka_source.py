"""Samples through a real broker: the same events as a replay, each row once, whatever the topic holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from neuroloop.config.errors import BrokerError, ConfigError, StreamEnded, StreamLost, StreamMismatch
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.sinks.kafka.dead_letter_sender import DeadLetterSender
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.contracts.protocols import Source
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.kafka.discovery import find_stream
from neuroloop.stream.sources.kafka.markers import KafkaMarkers
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.recordings.replay_source import RecordingSource
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.client_arguments import producer_arguments
from neuroloop.stream.wire.dead_letters import DeadLetter
from neuroloop.stream.wire.frames import Counts, Frame, frames_of_block, last_frame
from neuroloop.stream.wire.messages import (
    Message,
    StreamDescription,
    description_message,
    frame_message,
    marker_message,
)
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics
from tests.integration.brokers import ApacheBroker, Broker, records_of
from tests.integration.test_live_equality import bundle_for, write_config

PATIENCE_S = 180.0

pytestmark = pytest.mark.usefixtures("collected")
SFREQ = 250.0


def settings_of(broker: Broker | ApacheBroker, prefix: str, **changes: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap=broker.bootstrap, prefix=prefix, **changes)


def recording(*, numbers: bool, n_samples: int = 6000) -> RecordedStream:
    """Make a stream with losses, a long gap, repeated rows, NaN, flagged rows and jitter; with or without a counter."""
    simulator = Simulator(SimulatorSettings(seed=3, n_channels=4, duration_s=n_samples / SFREQ))
    data, stamps = simulator.generate(0, n_samples)
    rng = np.random.default_rng(8)
    data = data.copy()
    data[2000:2010, 1] = np.nan
    stamps = stamps + rng.uniform(0, 1e-4, n_samples)
    keep = np.ones(n_samples, np.bool_)
    keep[[700, 701, 702, 1500]] = False
    keep[3000:3400] = False
    index = np.flatnonzero(keep)
    index = np.insert(index, 900, index[899])
    valid = rng.random(len(index)) > 0.001
    own = index + 100_000 if numbers else None
    return RecordedStream(
        simulator.info, data[index], stamps[index], None if own is None else own.astype(np.int64), valid
    )


def frames_of(stream: RecordedStream, counts: Counts, *, session: int = 1, n: int = 40) -> Iterator[Frame]:
    """Cut a recording as a producer would, with the frame that ends it."""
    for start in range(0, stream.n_samples, n):
        part = slice(start, start + n)
        numbers = None if stream.sample_numbers is None else stream.sample_numbers[part]
        valid = None if stream.valid is None else stream.valid[part]
        yield from frames_of_block(
            RawBlock(stream.data[part], stream.timestamps[part], numbers, valid),
            stream="amp-1", first_sample=start, counts=counts, sfreq=SFREQ, session=session,
        )  # fmt: skip
    end = stream.n_samples
    if counts == "samples" and stream.sample_numbers is not None:
        end = int(stream.sample_numbers[-1]) + 1
    yield last_frame(
        stream="amp-1", first_sample=end, counts=counts, sfreq=SFREQ, n_channels=stream.info.n_channels, session=session
    )


def send(settings: KafkaSettings, messages: Iterable[Message]) -> None:
    """Send messages and wait until the broker has them."""
    producer = Producer(settings, ("samples", "streams"))
    n_sent = 0
    for message in messages:
        producer.offer(message)
        n_sent += 1
    assert producer.flush(PATIENCE_S), producer.problem
    assert producer.books().arrived == n_sent
    producer.close()


def described(settings: KafkaSettings, info: StreamInfo, session: int = 1, stream: str = "amp-1") -> Message:
    return description_message(Topics(settings.prefix), StreamDescription(stream, info, session))


def published(settings: KafkaSettings, info: StreamInfo, frames: Iterable[Frame], session: int = 1) -> None:
    topics = Topics(settings.prefix)
    send(settings, [described(settings, info, session), *(frame_message(topics, frame) for frame in frames)])


def rows_until_end(source: KafkaSource) -> list[RawBlock]:
    """Read to the end of the stream."""
    blocks = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            block = source.read(1.0)
            if block is not None:
                blocks.append(block)
    except StreamEnded:
        return blocks
    finally:
        source.close()
    raise AssertionError(f"the stream did not end, {sum(len(one.timestamps) for one in blocks)} rows came")


def index_frames(n: int, *, session: int = 1, first: int = 0, step: int = 10, last: bool = True) -> list[Frame]:
    """Make frames whose rows carry their own index."""
    frames = []
    for start in range(first, n, step):
        index = np.arange(start, min(start + step, n), dtype=np.float64)
        frames.append(Frame("amp-1", start, "received", SFREQ, index[:, None], index / SFREQ, session))
    if last:
        frames.append(
            last_frame(stream="amp-1", first_sample=n, counts="received", sfreq=SFREQ, n_channels=1, session=session)
        )
    return frames


ONE = StreamInfo("amp", "EEG", "amp-1", SFREQ, ("x",), ("eeg",), ("uV",))


def indices(blocks: Iterable[RawBlock]) -> list[int]:
    return [int(value) for block in blocks for value in block.data[:, 0]]


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [(False, "received"), (True, "received"), (True, "samples")],
    ids=["stamps", "both", "counter"],
)
def test_the_engine_says_the_same_as_over_the_recording(
    broker: Broker, topic_prefix: str, tmp_path: Path, numbers: bool, counts: Counts
) -> None:
    stream = recording(numbers=numbers)
    if counts == "samples":  # a repeated number is the transport's to drop, so none is in the recording either
        assert stream.sample_numbers is not None
        keep = np.insert(np.diff(stream.sample_numbers) > 0, 0, True)
        assert stream.valid is not None
        stream = replace(
            stream, data=stream.data[keep], timestamps=stream.timestamps[keep],
            sample_numbers=stream.sample_numbers[keep], valid=stream.valid[keep],
        )  # fmt: skip
    config = load_config(str(write_config(bundle_for(stream.info, tmp_path / "bundle"), tmp_path / "lab.yaml")))

    def lines(source: Source) -> tuple[list[str], dict[str, int]]:
        engine = Engine(config.source, build(config, source.info).pipeline)
        events: list[Event] = []
        try:
            while True:
                block = source.read(PATIENCE_S)
                assert block is not None
                events += engine.push_block(block)
        except StreamEnded:
            events += engine.finish()
        finally:
            source.close()
        return [canonical(event) for event in events], engine.books().missing

    settings = settings_of(broker, topic_prefix)
    published(settings, stream.info, frames_of(stream, counts))
    source = KafkaSource(settings, "amp-1", start="earliest")
    assert source.info == stream.info
    got, expected = lines(source), lines(RecordingSource(stream, chunking="random:4"))
    assert got == expected
    assert len(expected[0]) > 100
    assert sum('"type":"gap"' in line for line in expected[0]) == 3
    assert expected[1]["jumped"] == 400
    assert source.counts["lost"] == source.counts["duplicates"] == 0


def test_a_topic_in_which_everything_stands_twice_gives_every_row_once(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    frames = index_frames(500)
    published(settings, ONE, [frame for frame in frames for _ in range(2)])
    source = KafkaSource(settings, start="earliest")
    assert indices(rows_until_end(source)) == list(range(500))
    assert source.counts["duplicates"] == 490 + 10


def test_rows_lost_on_the_way_are_counted(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    frames = index_frames(500)
    del frames[20:22]
    published(settings, ONE, frames)
    source = KafkaSource(settings, start="earliest")
    assert indices(rows_until_end(source)) == [*range(200), *range(220, 500)]
    assert source.counts["lost"] == 20


def test_what_cannot_be_read_is_passed_on_and_the_rest_goes_on(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    topics = Topics(topic_prefix)
    good = [frame_message(topics, frame) for frame in index_frames(60)]
    two = Frame("amp-1", 0, "received", SFREQ, np.zeros((1, 2)), np.zeros(1), 1)
    stranger = replace(index_frames(10)[0], stream="amp-2")
    bad = [
        good[0]._replace(value=b"no frame at all"),
        good[0]._replace(value=good[0].value[:-3]),
        good[0]._replace(value=b""),
        frame_message(topics, two),
        frame_message(topics, stranger)._replace(key=b"amp-1"),
    ]
    send(settings, [described(settings, ONE), good[0], *bad, *good[1:]])
    letters: list[DeadLetter] = []
    source = KafkaSource(settings, start="earliest", on_dead_letter=letters.append)
    assert indices(rows_until_end(source)) == list(range(60))
    assert source.n_unreadable == len(letters) == 5
    assert source.unreadable == {"no frame": 3, "other layout": 1, "other stream": 1}
    assert [letter.value for letter in letters] == [message.value for message in bad]
    assert [letter.why.split(",")[0] for letter in letters] == [
        "frame must begin with the marker c3 01",
        "frame must be whole",
        "frame must have at least 10 bytes",
        "rows must have 1 channels at 250 Hz as described",
        "stream must be the key of its message (b'amp-1')",
    ]
    assert [letter.offset for letter in letters] == list(range(letters[0].offset, letters[0].offset + 5))


def with_null_header(message: Message, name: str) -> Message:
    """Return a message with a header that has no value, which Kafka allows and our client does not send."""
    others = tuple((key, value) for key, value in message.headers if key != name)
    return message._replace(headers=((name, None), *others))  # type: ignore[arg-type]


def send_as_they_are(bootstrap: str, messages: Iterable[Message]) -> None:
    """Send messages, headers without a value too: the one client refuses them, the other does not."""

    async def send_all() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for message in messages:
                await producer.send_and_wait(message.topic, message.value, message.key, headers=list(message.headers))
        finally:
            await producer.stop()

    asyncio.run(send_all())


def test_a_header_without_a_value_is_no_reason_to_stop(
    apache_broker: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(apache_broker, topic_prefix, topics={"partitions": 1})
    topics = Topics(topic_prefix)
    good = [frame_message(topics, frame) for frame in index_frames(60)]
    bad = [with_null_header(message._replace(value=b"no frame at all"), "ce_id") for message in good[:3]]
    ensure_topics(settings, ("samples", "markers", "dead"))
    send(settings, [described(settings, ONE), good[0]])
    send_as_they_are(apache_broker.bootstrap, bad)
    send(settings, good[1:])
    producer = Producer(settings, ("dead",))
    source = KafkaSource(settings, start="earliest", on_dead_letter=DeadLetterSender(producer, topics, 100_000))
    assert indices(rows_until_end(source)) == list(range(60))
    assert source.n_unreadable == 3
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    records = records_of(apache_broker.bootstrap, topics.dead)
    assert [(record.value, dict(record.headers)["ce_id"]) for record in records] == [(b"no frame at all", b"")] * 3
    said = [one.getMessage() for one in caplog.records if "is left out" in one.getMessage()]
    assert len(said) == 1  # the first of a reason

    marks = [
        marker_message(topics, Marker(float(k), f"m{k}", "cues"), stream="amp-1", k=k, session=1) for k in range(2)
    ]
    odd = marks[1]._replace(headers=(("ce_id", b"amp-1/markers/" + b"9" * 5000 + b"/0"),))
    broken = with_null_header(marks[1]._replace(value=b'{"time":NaN,"label":"a","stream":"m"}'), "x")
    send(settings, [marks[0], odd])
    send_as_they_are(apache_broker.bootstrap, [with_null_header(marks[1], "ce_id"), broken])
    letters: list[DeadLetter] = []
    markers = KafkaMarkers(settings, "amp-1", session=1, is_from_start=True, on_dead_letter=letters.append)
    assert markers.settle(PATIENCE_S)
    assert [marker.label for marker in markers.read()] == ["m0", "m1", "m1"]
    assert [letter.why for letter in letters] == ["time must be a finite number, got nan"]
    assert markers.n_unreadable == 1
    markers.close()


def test_a_description_under_the_key_of_another_stream_is_left_out(
    embedded_broker: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(embedded_broker, topic_prefix)
    own = described(settings, ONE)
    wrong = described(settings, replace(ONE, name="wrong"), session=9)._replace(key=b"amp-2")
    send(settings, [own, wrong])
    assert find_stream(settings, None, PATIENCE_S).info.name == "amp"
    assert "stream must be the key of its message (b'amp-2'), got 'amp-1'" in caplog.text


@pytest.mark.parametrize("absurd", ["index", "session"])
def test_a_frame_that_silences_its_stream_is_said_and_counted(
    embedded_broker: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture, absurd: str
) -> None:
    settings = settings_of(embedded_broker, topic_prefix)
    topics = Topics(topic_prefix)
    frame = index_frames(10, last=False)[0]
    wrong = replace(frame, first_sample=1 << 62) if absurd == "index" else replace(frame, session=1 << 62)
    published(settings, ONE, index_frames(100, last=False))
    source = KafkaSource(settings, start="earliest")
    assert _reads(source, lambda got: len(got) == 100) == list(range(100))
    send(settings, [frame_message(topics, wrong)])
    assert len(_reads(source, lambda got: len(got) == 10)) == 10
    send(settings, [frame_message(topics, frame) for frame in index_frames(1000, first=100, last=False)])
    caplog.set_level(logging.WARNING)
    deadline = time.monotonic() + PATIENCE_S
    while "no row of stream 'amp-1' gets through" not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        assert source.read(0.1) is None
    assert source.counts["late" if absurd == "index" else "other_session"] >= 250
    source.close()


def test_dead_letters_reach_their_topic_with_why_and_where(broker: Broker, topic_prefix: str) -> None:
    from kafka import KafkaConsumer

    settings = settings_of(broker, topic_prefix)
    producer = Producer(settings, ("dead",))
    letter = DeadLetter(f"{topic_prefix}.samples", 1, 5, b"amp-1", b"junk", (("ce_id", b"x"),), "frame must be whole")
    DeadLetterSender(producer, Topics(topic_prefix), 100_000)(letter)
    assert producer.flush(PATIENCE_S), producer.problem
    producer.close()
    consumer = KafkaConsumer(
        f"{topic_prefix}.dead", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None,
        consumer_timeout_ms=PATIENCE_S * 1e3,
    )  # fmt: skip
    record = next(consumer)
    consumer.close()
    assert (record.key, record.value) == (b"amp-1", b"junk")
    headers = dict(record.headers)
    assert (headers["ce_id"], headers["neuroloop_error"]) == (b"x", b"frame must be whole")
    assert (headers["neuroloop_partition"], headers["neuroloop_offset"]) == (b"1", b"5")


def test_where_a_source_begins(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    topics = Topics(topic_prefix)
    old = index_frames(300, session=1)
    published(settings, ONE, old, session=1)
    new = index_frames(200, session=2, last=False)
    published(settings, ONE, new, session=2)
    latest = KafkaSource(settings, start="latest")
    sources = {start: KafkaSource(settings, start=start) for start in ("earliest", "sample:55", "offset:40")}
    tail = index_frames(250, session=2, first=200)
    send(settings, [frame_message(topics, frame) for frame in tail])
    assert indices(rows_until_end(latest)) == list(range(200, 250))
    assert indices(rows_until_end(sources["earliest"])) == list(range(250))
    assert indices(rows_until_end(sources["sample:55"])) == list(range(55, 250))
    assert indices(rows_until_end(sources["offset:40"])) == list(range(90, 250))


def test_a_producer_that_begins_anew_is_followed(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    published(settings, ONE, index_frames(100, session=1, last=False), session=1)
    source = KafkaSource(settings, start="earliest")
    published(settings, ONE, index_frames(50, session=2), session=2)
    assert indices(rows_until_end(source)) == [*range(100), *range(50)]
    assert source.counts["restarts"] == 1
    assert source.counts["duplicates"] == 0


def test_a_producer_that_begins_anew_with_another_layout_ends_the_run(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    published(settings, ONE, index_frames(10, session=1, last=False), session=1)
    source = KafkaSource(settings, start="earliest")
    wide = Frame("amp-1", 0, "received", SFREQ, np.zeros((1, 3)), np.zeros(1), 2)
    published(settings, ONE, [wide], session=2)
    with pytest.raises(
        StreamMismatch, match=r"'amp-1': rows must have 1 channels at 250 Hz as described, got 3 at 250"
    ):
        rows_until_end(source)


def test_a_group_goes_on_where_it_was_and_misses_nothing(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix, group_id=f"{topic_prefix}-group")
    published(settings, ONE, index_frames(400, last=False))
    first = KafkaSource(settings, start="earliest")
    got: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(got) < 400 and time.monotonic() < deadline:
        block = first.read(0.5)
        got += indices([block] if block is not None else [])
    assert got == list(range(400))
    assert first.read(0.0) is None  # what was handed out before this call is dealt with
    first.commit()
    assert first.lag == 0
    first.close()
    send(settings, [frame_message(Topics(topic_prefix), frame) for frame in index_frames(450, first=400)])
    again = indices(rows_until_end(KafkaSource(settings, start="earliest")))
    assert again[-50:] == list(range(400, 450))
    assert again == list(range(450 - len(again), 450))
    assert len(again) <= 450


def test_only_the_stream_that_was_asked_for_is_read(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix)
    topics = Topics(topic_prefix)
    frames = [replace(frame, stream=f"amp-{number}") for frame in index_frames(50) for number in (1, 2, 3)]
    descriptions = [described(settings, ONE, stream=f"amp-{number}") for number in (1, 2, 3)]
    send(settings, [*descriptions, *(frame_message(topics, frame) for frame in frames)])
    assert indices(rows_until_end(KafkaSource(settings, "amp-2", start="earliest"))) == list(range(50))
    with pytest.raises(StreamMismatch, match=r"source.stream_id must name one of amp-1, amp-2, amp-3, got nothing"):
        KafkaSource(settings)
    with pytest.raises(StreamLost, match=r"within 2 s, got no 'amp-9'; there are amp-1, amp-2, amp-3"):
        KafkaSource(settings, "amp-9", resolve_s=2.0)


def test_a_missing_topic_is_said(broker: Broker, topic_prefix: str) -> None:
    with pytest.raises(BrokerError, match=rf"topic {topic_prefix}.streams must exist on .* got none"):
        KafkaSource(settings_of(broker, topic_prefix), resolve_s=0.2)


def test_a_start_that_does_not_fit_is_said_before_anything_is_asked() -> None:
    settings = KafkaSettings(bootstrap="127.0.0.1:1", group_id="g")
    with pytest.raises(
        ConfigError, match=r"source.start must be latest or earliest with kafka.group_id, got 'sample:5'"
    ):
        KafkaSource(settings, start="sample:5")
    with pytest.raises(ConfigError, match=r"source.start must be latest, earliest, offset:N or sample:N, got 'now'"):
        KafkaSource(settings, start="now")


def test_lag_is_what_is_still_to_come(broker: Broker, topic_prefix: str) -> None:
    settings = settings_of(broker, topic_prefix, topics={"partitions": 1})
    topics = Topics(topic_prefix)
    send(settings, [described(settings, ONE)])
    source = KafkaSource(settings, start="latest")
    wide = [Frame("amp-1", 1000 * i, "received", SFREQ, np.zeros((1000, 1)), np.arange(1000.0), 1) for i in range(2000)]
    send(settings, [frame_message(topics, frame) for frame in wide[:1500]])
    block = None
    deadline = time.monotonic() + PATIENCE_S
    while block is None and time.monotonic() < deadline:
        block = source.read(0.5)
    assert block is not None
    behind = source.lag
    assert 0 < behind < 1500
    while source.lag > 0 and time.monotonic() < deadline:
        source.read(0.5)
    assert source.lag == 0
    source.close()


@pytest.mark.slow
def test_brokers_that_stay_away_end_the_stream(restartable_broker: ApacheBroker, topic_prefix: str) -> None:
    settings = settings_of(restartable_broker, topic_prefix)
    published(settings, ONE, index_frames(50, last=False))
    source = KafkaSource(settings, start="earliest", reconnect_s=0.5)
    assert _reads(source, lambda got: len(got) == 50) == list(range(50))
    restartable_broker.kill()
    with pytest.raises(StreamLost, match=r"kafka.bootstrap must be a broker that answers, got .*: connection refused"):
        _reads(source, lambda got: False)
    source.close()
    source.close()


@pytest.mark.slow
def test_a_broker_that_comes_back_is_read_on(restartable_broker: ApacheBroker, topic_prefix: str) -> None:
    settings = settings_of(restartable_broker, topic_prefix)
    published(settings, ONE, index_frames(50, last=False))
    source = KafkaSource(settings, start="earliest")
    assert _reads(source, lambda got: len(got) == 50) == list(range(50))
    restartable_broker.kill()
    assert source.read(0.1) is None
    restartable_broker.start()
    send(settings, [frame_message(Topics(topic_prefix), frame) for frame in index_frames(90, first=50)])
    assert indices(rows_until_end(source)) == list(range(50, 90))


def _reads(source: KafkaSource, is_enough: Callable[[list[int]], bool]) -> list[int]:
    got: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while not is_enough(got):
        assert time.monotonic() < deadline, f"got {len(got)} rows"
        block = source.read(0.2)
        got += indices([] if block is None else [block])
    return got


def test_the_settings_of_the_producer_are_those_of_exactly_once_and_in_order() -> None:
    arguments = producer_arguments(KafkaSettings(bootstrap="a:1"))
    assert (arguments["acks"], arguments["enable_idempotence"]) == ("all", True)
