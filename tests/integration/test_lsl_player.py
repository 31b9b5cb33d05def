"""A recording played over real LSL arrives as it was recorded: every sample once, in order, with its own stamp."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pylsl
import pytest

from neuroloop.config.errors import StreamLost
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.playback.feed import Feed, RecordingFeed, SimulatorFeed
from neuroloop.stream.playback.player import Player, PlayReport
from neuroloop.stream.sources.lsl.markers import LslMarkers
from neuroloop.stream.sources.lsl.network import StreamQuery
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator
from tests.integration.lsl import DEADLINE_S, find, read_samples, reading, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")


def recorded(
    name: str, n_samples: int = 500, sfreq: float = 1000.0, numbers: np.ndarray | None = None, **changes: Any
) -> RecordedStream:
    """Make a recording whose channel 0 carries the sample number."""
    info = StreamInfo(name, "EEG", "amp-1", sfreq, ("count", "C3"), ("misc", "EEG"), ("", "uV"))
    data = np.random.default_rng(11).standard_normal((n_samples, 2))
    data[:, 0] = np.arange(n_samples)
    timestamps = changes.get("timestamps", np.arange(n_samples) / sfreq)
    return RecordedStream(info, data, timestamps, numbers)


@contextmanager
def playing(feed: Feed, **options: Any) -> Iterator[tuple[Player, list[PlayReport]]]:
    """Play in a thread, from the first consumer on."""
    player = Player(feed, **{"linger_s": DEADLINE_S, **options})
    reports: list[PlayReport] = []

    def run() -> None:
        if player.wait_for_consumer(DEADLINE_S):
            reports.append(player.run())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield player, reports
    finally:
        player.stop()
        thread.join(DEADLINE_S)
        player.close()
        assert not thread.is_alive()


@pytest.mark.parametrize("chunk_samples", [1, 7, 50])
@pytest.mark.parametrize("speed", [4.0, None])
def test_every_sample_arrives_once_in_order_with_its_own_stamp(chunk_samples: int, speed: float | None) -> None:
    name = f"played-{chunk_samples}-{speed}"
    stream = recorded(name)
    with playing(RecordingFeed(stream), chunk_samples=chunk_samples, speed=speed), reading(name) as source:
        block = read_samples(source, 500)
        assert source.info == stream.info
    np.testing.assert_array_equal(block.data, stream.data)
    np.testing.assert_array_equal(block.timestamps, stream.timestamps)
    assert block.sample_numbers is None


def test_stamps_that_liblsl_would_change_arrive_as_recorded() -> None:
    stamps = np.array([-1.0, 0.0, -0.5, 0.0, 1e9, -3.25, np.inf])
    stream = recorded("odd-stamps-played", 7, timestamps=stamps)
    with playing(RecordingFeed(stream), speed=None), reading("odd-stamps-played") as source:
        block = read_samples(source, 7)
    np.testing.assert_array_equal(block.timestamps, stamps)
    np.testing.assert_array_equal(block.data, stream.data)


@pytest.mark.parametrize("kind", ["implied", "own"])
def test_a_recordings_own_sample_numbers_arrive(kind: str) -> None:
    numbers = np.cumsum(np.random.default_rng(5).integers(1, 4, 200))
    stamps = numbers / 256.0 if kind == "implied" else 1e5 + np.arange(200) / 250.0
    stream = recorded(f"numbered-{kind}", 200, 256.0, numbers, timestamps=stamps)
    with playing(RecordingFeed(stream), speed=None, chunk_samples=9), reading(f"numbered-{kind}") as source:
        assert source.info == stream.info
        block = read_samples(source, 200)
    np.testing.assert_array_equal(block.sample_numbers, numbers)
    np.testing.assert_array_equal(block.data, stream.data)
    np.testing.assert_array_equal(block.timestamps, stamps)


def test_a_recording_played_under_another_name_keeps_its_identity() -> None:
    stream = recorded("original")
    with playing(RecordingFeed(stream), name="stage-name", speed=None), reading("stage-name") as source:
        assert source.found.name == "stage-name"
        assert source.info == stream.info


def test_float32_is_the_recording_rounded_once() -> None:
    stream = recorded("single")
    with playing(RecordingFeed(stream), value_format="float32", speed=None), reading("single") as source:
        block = read_samples(source, 500)
    np.testing.assert_array_equal(block.data, stream.data.astype(np.float32).astype(np.float64))


def marker_streams(*names: str) -> LslMarkers:
    markers = LslMarkers([StreamQuery(name=name) for name in names], look_every_s=0.02)
    wait_until(lambda: len(markers.senders) == len(names), f"connected to {names}")
    return markers


def collect(source: LslMarkers, n_markers: int) -> Sequence[Marker]:
    got: list[Marker] = []

    def enough() -> bool:
        got.extend(source.read())
        return len(got) >= n_markers

    wait_until(enough, f"{n_markers} markers")
    return sorted(got, key=lambda marker: marker.time)


def test_markers_arrive_as_recorded_each_under_its_own_streams_name() -> None:
    recorded_markers = [
        Marker(0.0, "begin", "Stimulus"),
        Marker(0.0421, "left", "Stimulus"),
        Marker(0.1, "pressed", "Response"),
        Marker(99.0, "late", "Stimulus"),
    ]
    feed = RecordingFeed(recorded("marked"), recorded_markers)
    with playing(feed, speed=None):
        markers = marker_streams("marked-markers", "marked-markers-2")
        try:
            with reading("marked") as source:
                read_samples(source, 500)
                assert list(collect(markers, 4)) == recorded_markers
        finally:
            markers.close()


def test_nobody_waits_for_consumers_of_markers() -> None:
    feed = RecordingFeed(recorded("unheard"), [Marker(0.1, "x", "m")])
    with playing(feed, speed=None) as (_, reports), reading("unheard") as source:
        read_samples(source, 500)
        source.close()
        wait_until(lambda: reports, "finished")
    assert (reports[0].n_samples, reports[0].n_markers, reports[0].is_complete) == (500, 1, True)


def test_the_first_sample_waits_for_the_first_consumer() -> None:
    stream = recorded("patient")
    with playing(RecordingFeed(stream), speed=None) as (player, reports):
        assert find("patient").n_channels == 2
        assert not player.has_consumers
        assert reports == []
        with reading("patient") as source:
            np.testing.assert_array_equal(read_samples(source, 500).data[:, 0], np.arange(500))


def test_waiting_for_a_consumer_ends_at_its_time_and_at_stop() -> None:
    player = Player(RecordingFeed(recorded("lonely")))
    assert not player.wait_for_consumer(0.05)
    player.stop()
    assert not player.wait_for_consumer()
    player.close()
    player.close()


def test_the_end_loses_nothing_even_for_a_consumer_that_comes_to_read_late() -> None:
    stream = recorded("last-words", 3000)
    with playing(RecordingFeed(stream), speed=None, chunk_samples=50, linger_s=DEADLINE_S) as (_, reports):
        with reading("last-words") as source:
            wait_until(lambda: source.n_waiting == 3000, "everything received")
            np.testing.assert_array_equal(read_samples(source, 3000).data, stream.data)
            assert reports == []
        wait_until(lambda: reports, "the consumer has left, the player ends")


def test_a_consumer_that_stays_learns_that_the_recording_is_over() -> None:
    feed = RecordingFeed(recorded("over", 20))
    with playing(feed, speed=None, linger_s=0.2) as (player, reports), reading("over") as source:
        read_samples(source, 20)
        wait_until(lambda: reports, "finished")
        player.close()
        with pytest.raises(StreamLost, match="stopped"):
            read_samples(source, 1)


def test_samples_come_at_the_pace_of_real_time() -> None:
    with playing(RecordingFeed(recorded("paced", 500)), chunk_samples=5) as (_, reports), reading("paced") as source:
        read_samples(source, 500)
        source.close()
        wait_until(lambda: reports, "finished")
    assert reports[0].elapsed_s > 0.498


def test_a_loop_goes_on_until_it_is_stopped() -> None:
    stream = recorded("round", 60, numbers=np.arange(60))
    with playing(RecordingFeed(stream, loop=True), speed=20.0, chunk_samples=7), reading("round") as source:
        block = read_samples(source, 200)
    np.testing.assert_array_equal(block.data[:, 0], np.arange(len(block.data)) % 60)
    np.testing.assert_array_equal(block.sample_numbers, np.arange(len(block.data)))
    np.testing.assert_array_equal(block.timestamps, np.arange(len(block.data)) / 1000.0)


def test_stamps_of_the_clock_are_those_of_a_regular_clock_and_now() -> None:
    feed = SimulatorFeed(Simulator(SimulatorSettings(seed=4, n_channels=2, sfreq=500.0, block_s=0.2)))
    expected = Simulator(SimulatorSettings(seed=4, n_channels=2, sfreq=500.0, block_s=0.2)).generate(0, 100)[0]
    begin = pylsl.local_clock()
    with playing(feed, stamps="clock", name="sim-live"):
        markers = marker_streams("sim-live-markers")
        with reading("sim-live") as source:
            block = read_samples(source, 100)
            end = pylsl.local_clock()
            first = collect(markers, 1)[0]
        markers.close()
    n = len(block.timestamps)
    np.testing.assert_array_equal(block.data[:100], expected)
    np.testing.assert_allclose(np.diff(block.timestamps), 1 / 500.0, rtol=0, atol=1e-9)
    assert begin <= block.timestamps[0]
    assert block.timestamps[-1] <= end
    assert first.time == block.timestamps[0]
    assert (first.label, first.stream) == ("rest", "simulator")
    assert n >= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_samples": 0}, "chunk_samples must be >= 1, got 0"),
        ({"speed": 0.0}, r"speed must be a finite number above 0, got 0\.0"),
        ({"speed": float("inf")}, "speed must be a finite number above 0, got inf"),
        ({"speed": 2.0, "stamps": "clock"}, r"speed must be 1 for stamps of the clock, got 2\.0"),
        ({"speed": None, "stamps": "clock"}, "speed must be 1 for stamps of the clock, got None"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Player(RecordingFeed(recorded("refused")), **options)
