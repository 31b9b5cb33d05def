from __future__ import annotations

import numpy as np
import pytest

from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.playback.feed import RecordingFeed, SimulatorFeed
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator

INFO = StreamInfo("rec", "EEG", "id", 10.0, ("a", "b"), ("EEG", "EEG"), ("uV", "uV"))


def recorded(stamps: list[float] | None = None, numbers: list[int] | None = None, n: int = 5) -> RecordedStream:
    data = np.arange(2.0 * n).reshape(n, 2)
    timestamps = np.array(stamps) if stamps is not None else 3.0 + np.arange(n) / 10.0
    return RecordedStream(INFO, data, timestamps, None if numbers is None else np.array(numbers, np.int64))


def test_rows_are_those_of_the_recording_and_end_with_it() -> None:
    stream = recorded()
    rows = RecordingFeed(stream).rows(3, 10)
    np.testing.assert_array_equal(rows.data, stream.data[3:])
    np.testing.assert_array_equal(rows.timestamps, stream.timestamps[3:])
    assert len(RecordingFeed(stream).rows(5, 1).timestamps) == 0


def test_a_loop_goes_on_by_the_whole_length_and_one_period() -> None:
    rows = RecordingFeed(recorded(), loop=True).rows(0, 12)
    np.testing.assert_allclose(rows.timestamps, 3.0 + np.arange(12) / 10.0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rows.data[:, 0], [0, 2, 4, 6, 8, 0, 2, 4, 6, 8, 0, 2])


@pytest.mark.parametrize("cut", [1, 2, 5, 7])
def test_a_loop_gives_the_same_rows_however_they_are_asked_for(cut: int) -> None:
    feed = RecordingFeed(recorded(numbers=[0, 1, 4, 5, 6]), [Marker(3.15, "x", "m")], loop=True)
    whole, parts = feed.rows(0, 14), [feed.rows(start, min(cut, 14 - start)) for start in range(0, 14, cut)]
    np.testing.assert_array_equal(np.concatenate([part.timestamps for part in parts]), whole.timestamps)
    np.testing.assert_array_equal(
        np.concatenate([part.sample_numbers for part in parts if part.sample_numbers is not None]), whole.sample_numbers
    )
    markers = [due for start in range(0, 14, cut) for due in feed.markers(start, min(cut, 14 - start))]
    assert markers == feed.markers(0, 14)
    assert [due.row for due in markers] == [2, 7, 12]


def test_an_implied_clock_stays_exact_over_the_turns_of_a_loop() -> None:
    numbers = [0, 1, 2, 7, 8]
    feed = RecordingFeed(recorded([n / 10.0 for n in numbers], numbers), loop=True)
    assert feed.numbering == "implied"
    rows = feed.rows(0, 500)
    assert rows.sample_numbers is not None
    np.testing.assert_array_equal(rows.timestamps, rows.sample_numbers / 10.0)
    np.testing.assert_array_equal(rows.sample_numbers[:12], [0, 1, 2, 7, 8, 9, 10, 11, 16, 17, 18, 19])


def test_numbers_that_do_not_follow_from_the_stamps_stand_for_themselves() -> None:
    assert RecordingFeed(recorded(numbers=[0, 1, 2, 3, 4])).numbering == "own"
    assert RecordingFeed(recorded()).numbering == "none"


def test_a_marker_comes_with_the_first_row_whose_stamp_reaches_it() -> None:
    markers = [
        Marker(99.0, "after", "m"),
        Marker(3.1, "on", "m"),
        Marker(3.11, "between", "n"),
        Marker(0.0, "before", "m"),
    ]
    feed = RecordingFeed(recorded(), markers)
    assert [(due.row, due.marker.label) for due in feed.markers(0, 5)] == [
        (0, "before"),
        (1, "on"),
        (2, "between"),
        (4, "after"),
    ]
    assert feed.marker_streams == ("m", "n")
    assert feed.markers(1, 1) == [feed.markers(0, 5)[1]]


def test_a_clock_that_steps_back_does_not_hold_markers_back() -> None:
    feed = RecordingFeed(recorded([3.0, 3.1, 2.5, 2.6, 3.3]), [Marker(3.05, "x", "m"), Marker(3.2, "y", "m")])
    assert [due.row for due in feed.markers(0, 5)] == [1, 4]


def test_what_cannot_be_played_is_refused() -> None:
    empty = RecordedStream(INFO, np.empty((0, 2)), np.empty(0))
    with pytest.raises(ValueError, match="stream must have samples, got none in 'rec'"):
        RecordingFeed(empty)
    irregular = RecordedStream(
        StreamInfo("gaze", "Gaze", "", 0.0, ("x",), ("Gaze",), ("",)), np.zeros((2, 1)), np.array([0.0, 1.0])
    )
    with pytest.raises(ValueError, match="loop must be off for a stream without a rate, got True"):
        RecordingFeed(irregular, loop=True)


def test_the_simulators_state_changes_come_with_their_own_rows() -> None:
    simulator = Simulator(SimulatorSettings(seed=3, n_channels=2, sfreq=100.0, block_s=2.0), t0=1000.3)
    feed = SimulatorFeed(simulator)
    due = feed.markers(0, 2000)
    assert due[0].row == 0
    assert len(due) > 3
    for one in due:
        assert simulator.state_at(one.row) == one.marker.label
        assert feed.rows(one.row, 1).timestamps[0] == pytest.approx(one.marker.time, abs=1e-9)
