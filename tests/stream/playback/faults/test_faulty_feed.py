from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.errors import ConfigError
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.playback.faults.faulty_feed import FaultyFeed
from neuroloop.stream.playback.faults.spec import parse_faults
from neuroloop.stream.playback.faults.truth import FaultLog
from neuroloop.stream.playback.feed import DueMarker, RecordingFeed, ScheduledFeed, SimulatorFeed
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator
from tests.stream.playback.faults.disturbing import disturb_blocks, disturb_stream

INFO = StreamInfo("rec", "EEG", "id", 100.0, ("count", "C3"), ("misc", "EEG"), ("", "uV"))
N = 1000


def recorded(*, numbered: bool = False, valid: bool = False) -> RecordedStream:
    """Ten seconds at 100 Hz; channel 0 carries the true sample number."""
    data = np.column_stack((np.arange(N, dtype=np.float64), np.sin(np.arange(N))))
    flags = np.arange(N) % 7 != 0 if valid else None
    return RecordedStream(INFO, data, 50.0 + np.arange(N) / 100.0, np.arange(N) + 5 if numbered else None, flags)


def faulty(*specs: str, numbered: bool = False) -> FaultyFeed:
    return FaultyFeed(RecordingFeed(recorded(numbered=numbered)), parse_faults(specs))


def sent_numbers(feed: FaultyFeed) -> list[int]:
    return [int(number) for number in feed.rows(0, feed.n_samples or 0).data[:, 0]]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cut@2s+1s", [*range(200), *range(300, N)]),
        ("reconnect@2s+1s", [*range(200), *range(300, N)]),
        ("gap@2s:3", [*range(200), *range(203, N)]),
        ("duplicate@2s:3", [*range(200), 200, 201, 202, 200, 201, 202, *range(203, N)]),
        ("reorder@2s:4", [*range(200), 203, 202, 201, 200, *range(204, N)]),
        ("cut@0s+1s", [*range(100, N)]),
        ("cut@9s+5s", [*range(900)]),
        ("gap@1s:5;duplicate@1.05s:2;reorder@1.07s:2", [*range(100), 105, 106, 105, 106, 108, 107, *range(109, N)]),
        ("clock_step@1s:2s;drift_ppm@0s:100;rate@1s+1s:50;burst@5s+1s:8;nan@1s+1s:C3", [*range(N)]),
    ],
)
def test_the_rows_that_are_sent(spec: str, expected: list[int]) -> None:
    feed = faulty(spec)
    assert feed.n_samples == len(expected)
    assert sent_numbers(feed) == expected
    assert feed.true_samples(0, len(expected)).tolist() == expected


def test_where_no_fault_is_stamps_and_values_are_untouched() -> None:
    base, feed = recorded(), faulty("clock_step@5s:-3.5s;nan@6s+1s;rate@7s+1s:50")
    rows = feed.rows(0, N)
    np.testing.assert_array_equal(rows.timestamps[:500], base.timestamps[:500])
    np.testing.assert_array_equal(rows.data[:600], base.data[:600])
    np.testing.assert_array_equal(rows.data[700:], base.data[700:])


def test_stamps_of_every_clock_fault() -> None:
    true = np.arange(N) / 100.0
    step = faulty("clock_step@5s:-3.5s").rows(0, N).timestamps
    np.testing.assert_allclose(step - 50.0, true - 3.5 * (true >= 5.0), rtol=0, atol=1e-9)
    drift = faulty("drift_ppm@2s+4s:1000").rows(0, N).timestamps
    np.testing.assert_allclose(drift - 50.0, true + 1e-3 * np.clip(true - 2.0, 0, 4.0), rtol=0, atol=1e-9)
    rate = faulty("rate@2s+1s:50").rows(0, N).timestamps
    np.testing.assert_allclose(np.diff(rate)[200:300], 0.02, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.delete(np.diff(rate), range(200, 300)), 0.01, rtol=0, atol=1e-9)


def test_a_packet_is_stamped_when_its_last_sample_is_there() -> None:
    feed = faulty("burst@2s+0.5s:20")
    stamps = feed.rows(0, N).timestamps - 50.0
    np.testing.assert_allclose(stamps[200:220], 2.19 + np.arange(20) * 20e-6, rtol=0, atol=1e-9)
    np.testing.assert_allclose(stamps[240:250], 2.49 + np.arange(10) * 20e-6, rtol=0, atol=1e-9)
    assert [feed.batch(row, 1) for row in (199, 200, 205, 240, 250)] == [1, 20, 15, 10, 1]
    assert feed.batch(190, 100) == 10
    assert feed.due_s(219) == pytest.approx(2.19)


def test_values_of_every_channel_fault() -> None:
    rows = faulty("nan@1s+0.5s:C3;flat@2s+0.5s:C3;rail@3s+0.5s:C3=187500;rail@4s+0.1s:-1").rows(0, N).data
    assert np.isnan(rows[100:150, 1]).all()
    assert np.isfinite(rows[:, 0]).all()
    assert (rows[200:250, 1] == np.sin(200.0)).all()
    assert (rows[300:350, 1] == 187500.0).all()
    assert (rows[400:410] == -1.0).all()
    assert np.isnan(rows).sum() == 50


def test_sample_numbers_stay_with_their_samples() -> None:
    rows = faulty("gap@2s:3;reorder@3s:2", numbered=True).rows(0, N)
    assert rows.sample_numbers is not None
    np.testing.assert_array_equal(rows.sample_numbers, rows.data[:, 0] + 5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, N), max_size=12).map(sorted))
def test_rows_do_not_depend_on_how_they_are_asked_for(cuts: list[int]) -> None:
    feed = faulty("gap@1s:5;duplicate@2s:9;reorder@3s:8;burst@4s+1s:8;flat@4s+1s:C3;rate@5s+1s:90;cut@7s+1s")
    n_rows = feed.n_samples or 0
    bounds = [0, *(min(cut, n_rows) for cut in cuts), n_rows]
    parts = [feed.rows(begin, end - begin) for begin, end in pairwise(bounds)]
    whole = feed.rows(0, n_rows)
    np.testing.assert_array_equal(np.concatenate([part.timestamps for part in parts]), whole.timestamps)
    np.testing.assert_array_equal(np.concatenate([part.data for part in parts]), whole.data)


def test_silence_is_waited_for_and_repeats_are_sent_at_once() -> None:
    feed = faulty("cut@2s+1s;duplicate@4s:5;reorder@5s:5;rate@6s+1s:50")
    assert feed.due_s(199) == 1.99
    assert feed.due_s(200) == 3.0
    assert [feed.due_s(row) for row in (304, 305, 309, 310)] == [4.04, 4.04, 4.04, 4.05]
    first = feed.true_samples(0, 905).tolist().index(504)
    assert [feed.due_s(row) for row in range(first, first + 6)] == [5.04] * 5 + [5.05]
    assert feed.due_s((feed.n_samples or 0) - 1) == pytest.approx(10.99)


def test_an_outage_is_before_the_row_that_follows_it() -> None:
    feed = faulty("reconnect@2s+1s;cut@5s+1s")
    outages = {row: feed.outage_s(row) for row in range(feed.n_samples or 0) if feed.outage_s(row)}
    assert outages == {200: 1.0}


def test_markers_of_a_silence_come_after_it_on_the_senders_clock() -> None:
    markers = [Marker(51.0, "a", "m"), Marker(52.5, "b", "m"), Marker(57.0, "c", "m"), Marker(99.0, "late", "m")]
    feed = FaultyFeed(RecordingFeed(recorded(), markers), parse_faults(["cut@2s+1s;clock_step@6s:-2s"]))
    assert feed.markers(0, 200) == [DueMarker(100, markers[0])]
    assert feed.markers(200, 1) == [DueMarker(200, markers[1])]
    assert feed.markers(201, 700) == [DueMarker(600, Marker(55.0, "c", "m")), DueMarker(899, Marker(97.0, "late", "m"))]


def test_no_marker_comes_twice_with_repeated_rows() -> None:
    markers = [Marker(52.01, "a", "m")]
    feed = FaultyFeed(RecordingFeed(recorded(), markers), parse_faults(["duplicate@2s:5"]))
    found = [due for row in range(feed.n_samples or 0) for due in feed.markers(row, 1)]
    assert found == [DueMarker(201, markers[0])]


def test_the_truth_says_where_what_was_done() -> None:
    feed = faulty("cut@2s+1s;clock_step@5s:-3.5s;nan@6s+1s:C3;drift_ppm@8s:100;gap@9.9s:50")
    cut, step, nan, drift, gap = feed.injected
    assert (cut.kind, cut.first_sample, cut.n_samples, cut.duration_s) == ("cut", 200, 100, 1.0)
    assert (cut.stamp_before, cut.stamp_after) == (51.99, 53.0)
    assert (step.n_samples, step.value) == (0, -3.5)
    assert (step.stamp_before, step.stamp_after) == (54.99, 51.5)
    assert (nan.channels, nan.n_samples) == (("C3",), 100)
    assert (drift.n_samples, drift.value) == (None, 100.0)
    assert (gap.n_samples, gap.stamp_after) == (10, None)


def test_the_log_holds_what_was_sent_so_far(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    with FaultLog(path) as log:
        feed = FaultyFeed(RecordingFeed(recorded()), parse_faults(["cut@2s+1s;nan@6s+1s:C3"]), log.write)
        feed.sent(200)
        assert path.read_text() == ""
        feed.sent(201)
        assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["cut"]
        feed.sent(900)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [json.loads(json.dumps(record.as_dict())) for record in feed.injected]


def test_an_endless_feed_takes_faults_too() -> None:
    feed = FaultyFeed(
        SimulatorFeed(Simulator(SimulatorSettings(n_channels=2, sfreq=100.0))),
        parse_faults(["cut@2s+1s;drift_ppm@0s:100"]),
    )
    assert feed.n_samples is None
    assert isinstance(feed, ScheduledFeed)
    assert feed.rows(10**6, 3).timestamps == pytest.approx((10**6 + 100 + np.arange(3)) / 100 * 1.0001, rel=1e-9)


def test_a_mix_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def mix(seed: int) -> list[str]:
        stream = recorded()
        return [record.spec for record in disturb_stream(stream, parse_faults([f"random:{seed}"]))[1]]

    assert mix(4) == mix(4)
    assert mix(4) != mix(5)


def test_a_recorded_stream_keeps_the_flags_of_its_samples() -> None:
    stream, _ = disturb_stream(recorded(valid=True), parse_faults(["gap@1s:3;reorder@2s:5"]))
    assert stream.valid is not None
    np.testing.assert_array_equal(stream.valid, stream.data[:, 0] % 7 != 0)


def test_blocks_are_cut_at_packets_and_silences() -> None:
    base = recorded(numbered=True)
    whole = [RawBlock(base.data, base.timestamps, base.sample_numbers)]
    blocks, truth = disturb_blocks(whole, INFO, parse_faults(["burst@1s+1s:30;cut@5s+1s"]), block_samples=64)
    assert [len(block.timestamps) for block in blocks] == [64, 36, 30, 30, 30, 10, *[64] * 4, 44, *[64] * 6, 16]
    assert [record.kind for record in truth] == ["burst", "cut"]
    assert all(block.sample_numbers is not None for block in blocks)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["cut@10s+1s"], "fault must begin before the stream's end at 10 s, got 'cut@10s+1s'"),
        (["nan@1s+1s:C9"], "fault must name channels of the stream (count, C3), got 'C9'"),
        (["cut@1s+2s", "reorder@2s:10"], "fault must not overlap with 'cut@1s+2s', got 'reorder@2s:10'"),
    ],
)
def test_faults_that_do_not_fit_are_refused(specs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        faulty(*specs)


def test_a_stream_without_a_rate_has_no_schedule() -> None:
    info = StreamInfo("slow", "x", "", 0.0, ("a",), ("x",), ("",))
    stream = RecordedStream(info, np.zeros((3, 1)), np.arange(3.0))
    with pytest.raises(ConfigError, match="fault must be left out for a stream without a rate, got 'slow'"):
        FaultyFeed(RecordingFeed(stream), parse_faults(["gap@0s:1"]))
