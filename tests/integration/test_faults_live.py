"""Faults over real LSL: what arrives is what the injected truth says, and the receiver counts just that."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pylsl
import pytest

from neuroloop.config.errors import StreamLost
from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.engine.sequencer import Sequencer
from neuroloop.stream.playback.faults.faulty_feed import FaultyFeed
from neuroloop.stream.playback.faults.spec import parse_faults
from neuroloop.stream.playback.faults.truth import FaultLog
from neuroloop.stream.playback.feed import RecordingFeed
from neuroloop.stream.playback.player import Player
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.sources.recordings.recording import RecordedStream
from tests.integration.lsl import DEADLINE_S, read_samples, reading

pytestmark = pytest.mark.usefixtures("lsl_session")

SFREQ, N = 250.0, 2500


def recorded(name: str, n_samples: int = N) -> RecordedStream:
    """Make a recording whose channel 0 carries the true sample number."""
    info = StreamInfo(name, "EEG", "amp-1", SFREQ, ("count", "C3"), ("misc", "EEG"), ("", "uV"))
    data = np.column_stack((np.arange(n_samples, dtype=np.float64), np.cos(np.arange(n_samples))))
    return RecordedStream(info, data, 100.0 + np.arange(n_samples) / SFREQ)


@contextmanager
def playing(feed: FaultyFeed, speed: float | None, stamps: str = "recording") -> Iterator[None]:
    player = Player(feed, speed=speed, chunk_samples=16, stamps=stamps, linger_s=DEADLINE_S)  # type: ignore[arg-type]

    def run() -> None:
        if player.wait_for_consumer(DEADLINE_S):
            player.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        player.stop()
        thread.join(DEADLINE_S)
        player.close()
        assert not thread.is_alive()


def number(block: RawBlock, info: StreamInfo) -> Sequencer:
    sequencer = Sequencer(TimingSettings(), info)
    sequencer.push(block.data, block.timestamps)
    return sequencer


def test_what_arrives_is_what_the_truth_says_and_is_counted_so(tmp_path: Path) -> None:
    stream = recorded("faulty-fast")
    specs = ["gap@4s:25; duplicate@5s:50", "nan@6s+0.5s:C3; cut@8s+1.2s"]
    with FaultLog(tmp_path / "truth.jsonl") as log:
        feed = FaultyFeed(RecordingFeed(stream), parse_faults(specs), log.write)
        n_sent = N - 25 + 50 - 300
        assert feed.n_samples == n_sent
        with playing(feed, None), reading("faulty-fast") as source:
            block = read_samples(source, n_sent)
    expected = feed.rows(0, n_sent)
    np.testing.assert_array_equal(block.data, expected.data)
    np.testing.assert_array_equal(block.timestamps, expected.timestamps)
    truth = {record["kind"]: record for record in map(json.loads, (tmp_path / "truth.jsonl").read_text().splitlines())}
    counts = number(block, stream.info).counters
    assert counts["filled"] == truth["gap"]["n_samples"] == 25
    assert counts["jumped"] == truth["cut"]["n_samples"] == 300
    assert counts["duplicates"] == truth["duplicate"]["n_samples"] == 50
    assert counts["nonfinite"] == truth["nan"]["n_samples"] == 125
    assert truth["cut"]["stamp_after"] == block.timestamps[block.data[:, 0] == 2300][0]


def test_a_cut_is_silence_in_real_time_and_stamps_of_the_clock_go_on() -> None:
    stream = recorded("faulty-paced", 400)
    feed = FaultyFeed(RecordingFeed(stream), parse_faults(["cut@0.4s+0.6s"]))
    with playing(feed, 1.0, "clock"), reading("faulty-paced") as source:
        before = read_samples(source, 100)
        after = read_samples(source, 1)
        came = pylsl.local_clock()
        rest = read_samples(source, 150 - len(after.timestamps))
    stamps = np.concatenate((before.timestamps, after.timestamps, rest.timestamps))
    assert came >= after.timestamps[0]
    assert np.diff(stamps).max() == pytest.approx(0.604, abs=1e-6)
    assert np.argmax(np.diff(stamps)) == 99


def read_across_the_outage(source: LslSource, last: float) -> tuple[list[RawBlock], int]:
    """Read until the last true sample has come; reopen where the sender goes."""
    blocks: list[RawBlock] = []
    n_lost = 0
    end = time.perf_counter() + 2 * DEADLINE_S
    while time.perf_counter() < end:
        try:
            block = source.read(0.2)
        except StreamLost:
            n_lost += 1
            source.reopen(DEADLINE_S)
            continue
        if block is not None:
            blocks.append(RawBlock(block.data.copy(), block.timestamps.copy()))
            if block.data[-1, 0] == last:
                return blocks, n_lost
    raise AssertionError("the last sample must come within the deadline")


def test_an_outlet_that_comes_back_is_found_and_its_outage_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuroloop.stream.playback.player._COME_BACK_S", DEADLINE_S)
    stream = recorded("faulty-reconnect")
    feed = FaultyFeed(RecordingFeed(stream), parse_faults(["reconnect@4s+2s"]))
    with playing(feed, None), reading("faulty-reconnect") as source:
        blocks, n_lost = read_across_the_outage(source, float(N - 1))
    data = np.concatenate([block.data for block in blocks])
    block = RawBlock(data, np.concatenate([block.timestamps for block in blocks]))
    assert n_lost == 1
    numbers = data[:, 0].astype(int)
    missing = sorted(set(range(N)) - set(numbers))
    assert set(range(1000, 1500)) <= set(missing)
    assert (np.diff(numbers) > 0).all()
    sequencer = number(block, stream.info)
    assert sequencer.next_sample == N
    assert sequencer.counters["received"] + sequencer.counters["jumped"] + sequencer.counters["filled"] == N


def test_packets_are_sent_whole() -> None:
    stream = recorded("faulty-burst")
    feed = FaultyFeed(RecordingFeed(stream), parse_faults(["burst@0s+10s:32"]))
    with playing(feed, None), reading("faulty-burst") as source:
        block = read_samples(source, N)
    steps = np.diff(block.timestamps)
    assert (np.flatnonzero(steps > 0.01) == np.arange(31, N - 1, 32)).all()
    sequencer = number(block, stream.info)
    assert (sequencer.mode, sequencer.next_sample, sequencer.counters["received"]) == ("bursty", N, N)
