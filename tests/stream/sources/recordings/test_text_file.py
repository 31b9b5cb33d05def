"""Text recordings: layouts, time columns, rates, markers, faults with their line; real files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream
from neuroloop.stream.sources.recordings.time_column import is_time_name, rate_of
from tests.stream.sources.recordings.handmade import SMALL_CSV


def _open(folder: Path, content: str | bytes, name: str = "small.csv", sfreq: float | None = None) -> Recording:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return open_recording(folder / name, sfreq=sfreq)


def test_a_table_with_time_gives_stamps_channels_and_markers(tmp_path: Path) -> None:
    recording = _open(tmp_path, SMALL_CSV)
    stream = recording.streams[0]
    assert (stream.info.name, stream.info.sfreq, stream.info.type) == ("small", 250.0, "EEG")
    assert stream.info.ch_names == ("C3", "C4")
    assert stream.info.ch_units == ("uV", "uV")
    assert stream.timestamps.tolist() == [0.0, 0.004, 0.008, 0.012]
    assert stream.sample_numbers is None
    np.testing.assert_array_equal(stream.data, [[1, 2], [3, 4], [5, np.nan], [np.nan, 8]])
    assert recording.markers == (Marker(0.004, "1", "marker"),)


def test_a_table_without_time_needs_the_rate(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no time column: give its rate with --sfreq"):
        _open(tmp_path, "1,2\n3,4\n")
    stream = _open(tmp_path, "1,2\n3,4\n", sfreq=2.0).streams[0]
    assert stream.info.ch_names == ("ch1", "ch2")
    assert stream.timestamps.tolist() == [0.0, 0.5]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [0, 1]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1.5,2\n3,4\n",
        "a;b\n1,5;2\n3;4\n",
        "a\tb\n1.5\t2\n3\t4\n",
        "1.5 2\n 3   4\n",
        '"a","b"\r\n"1.5","2"\r\n"3","4"\r\n',
        "\ufeffa,b\n\n# a comment\n1.5,2\n3,4\n\n",
        "a,b,\n1.5,2,\n3,4,\n",
        ",a,b\n0,1.5,2\n1,3,4\n",
    ],
)
def test_every_layout_gives_the_same_numbers(tmp_path: Path, content: str) -> None:
    stream = _open(tmp_path, content, sfreq=1.0).streams[0]
    assert stream.data.tolist() == [[1.5, 2.0], [3.0, 4.0]]


def test_a_single_column_and_a_compressed_file_are_read(tmp_path: Path) -> None:
    assert _open(tmp_path, "-6.5\n-6\n", sfreq=1.0).streams[0].data.tolist() == [[-6.5], [-6.0]]
    packed = _open(tmp_path, gzip.compress(SMALL_CSV), "packed.csv.gz").streams[0]
    assert (packed.info.name, packed.n_samples) == ("packed", 4)


@pytest.mark.parametrize(
    ("header", "cells", "stamps"),
    [
        ("time_ms", ("0", "4", "8"), [0.0, 0.004, 0.008]),
        ("Time [s]", ("1.5", "1.75", "2"), [1.5, 1.75, 2.0]),
        ("timer", ("0", "250", "500"), [0.0, 0.25, 0.5]),
        ("timestamp", ("1557936053000", "1557936053500", "1557936054000"), [1557936053.0, 1557936053.5, 1557936054.0]),
        ("datetime", ("2020-03-01 15:44:06", "2020-03-01 15:44:07", "2020-03-01T15:44:08.5"),
         [1583077446.0, 1583077447.0, 1583077448.5]),
        ("t", ("2020-03-01T00:00:00+01:00", "2020-03-01T00:00:01+01:00", "2020-02-29T23:00:02Z"),
         [1583017200.0, 1583017201.0, 1583017202.0]),
    ],
)  # fmt: skip
def test_time_columns_become_seconds(tmp_path: Path, header: str, cells: tuple[str, ...], stamps: list[float]) -> None:
    rows = "\n".join(f"{cell},1" for cell in cells)
    assert _open(tmp_path, f"{header},x\n{rows}\n").streams[0].timestamps.tolist() == stamps


def test_the_rate_wins_over_the_time_column_but_leaves_the_stamps(tmp_path: Path) -> None:
    stream = _open(tmp_path, "time,x\n0,1\n1,2\n", sfreq=100.0).streams[0]
    assert stream.info.sfreq == 100.0
    assert stream.timestamps.tolist() == [0.0, 1.0]
    assert stream.sample_numbers is None


@pytest.mark.parametrize(
    ("stamps", "rate"),
    [
        (np.round(np.arange(3000) / 256, 3), 256.0),
        (np.arange(100) / 173.61, pytest.approx(173.61)),
        (np.arange(20) * 300.0, 1 / 300),
        (np.concatenate((np.arange(100.0), np.arange(100.0) + 150.0)), 1.0),
        (np.concatenate((np.arange(100) / 100, np.arange(100) / 100 - 500)), 100.0),
        (np.delete(np.arange(600) / 250, slice(300, 310)), 250.0),
        (np.sort(np.append(np.arange(600) / 250, 550 / 250)), 250.0),
        (np.round(np.arange(3000) / 700, 3), 700.0),
        (np.zeros(5), None),
        (np.array([1.0]), None),
    ],
)
def test_the_rate_is_judged_from_stamps_in_spite_of_rounding_gaps_and_resets(
    stamps: np.ndarray, rate: float | None
) -> None:
    assert rate_of(stamps) == rate


@pytest.mark.parametrize("name", ["TMS", "rect", "temperature", "test", "T7", "times2", "estimate", "events"])
def test_channels_are_not_taken_for_time(name: str) -> None:
    assert not is_time_name(name)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is empty"),
        ("\n \n", "it has no rows"),
        ("time,a\n", "it has a header but no rows"),
        ("time,a\n0,1\n1,2,3\n", "line 3: a row must have 2 cells, got 3"),
        ("time,a\n0,1\n\n1\n", "line 4: a row must have 2 cells, got 1"),
        ("time,a\n0,1\n1,oops\n", "line 3: column 'a' must be a number, got 'oops'"),
        ("time,a\n0,1\n1,1_0\n", "line 3: column 'a' must be a number, got '1_0'"),
        ("time,who\n0,anna\n1,bert\n", "line 2: column 'who' must be numbers, a time or a marker column, got 'anna'"),
        ("time,a\n0,1\n,2\n", "line 3: column 'time' must be a time, got ''"),
        ("time,a\n2020-01-01,1\nlater,2\n", "line 3: column 'time' must be a number or an ISO date, got 'later'"),
        ("time,a\n0,1\n0,2\n", "its time column shows no rate: give it with --sfreq"),
        ("time,marker\n0,1\n1,2\n", "it has no column with samples"),
        ("PK\x03\x04\x00\x00", "it is not a text file"),
    ],
)
def test_a_faulty_table_is_refused_with_its_line(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        _open(tmp_path, content)


def test_marker_columns_of_texts_mark_every_change(tmp_path: Path) -> None:
    content = "time,a,Trigger\n0,1,\n1,2,left\n2,3,left\n3,4,0\n4,5,left\n5,6,2.0\n"
    assert [(m.time, m.label) for m in _open(tmp_path, content).markers] == [(1.0, "left"), (4.0, "left"), (5.0, "2")]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n_samples", "n_markers", "first", "begin", "has_steps_back"),
    [
        ("auditory_P300_subject1_session1_data_2017-09-13-15.55.05", 30732, 196, 35.645, 151462.006, True),
        ("visual_P300_subject1_session3_data_2017-02-11-14.57.30", 30720, 194, -12.695, 1486825052.657, False),
        ("visual_SSVEP_subject1_session1_data_2017-09-14-21.22.51", 30732, 33, 12.207, 213709.598, True),
    ],
)
def test_real_headset_files_are_256_hz(
    shared_data: Path, name: str, n_samples: int, n_markers: int, first: float, begin: float, has_steps_back: bool
) -> None:
    recording = open_recording(shared_data / "muse-erp" / f"{name}.csv.gz")
    stream = select_stream(recording)
    assert (stream.info.name, stream.info.sfreq, stream.info.type) == (name, 256.0, "EEG")
    assert stream.info.ch_names == ("TP9", "AF7", "AF8", "TP10", "Right AUX")
    assert (stream.n_samples, stream.data[0, 0], stream.timestamps[0]) == (n_samples, first, begin)
    assert len(recording.markers) == n_markers
    assert {marker.label for marker in recording.markers} == {"1", "2"}
    assert any("step back" in note for note in recording.notes) == has_steps_back


@pytest.mark.shared
def test_a_real_test_bed_has_its_labels_as_markers(shared_data: Path) -> None:
    recording = open_recording(shared_data / "water-skab/valve1/1.csv")
    stream = select_stream(recording)
    assert (stream.data.shape, stream.info.sfreq) == ((1145, 8), 1.0)
    assert stream.info.ch_names[-1] == "Volume Flow RateRMS"
    assert stream.data[0].tolist() == [0.0270797, 0.039615, 0.871339, 0.054711, 75.4955, 25.8338, 244.091, 32.0]
    assert [len(source.markers) for source in recording.marker_streams] == [1, 4]
    assert open_recording(shared_data / "water-skab/anomaly-free/anomaly-free.csv").streams[0].n_samples == 9405


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "given", "sfreq", "shape", "first"),
    [
        ("ppg-ecg/bidmc_01_Signals.csv", None, 125.0, (60001, 5), 0.35386),
        ("ppg-ecg/heartpy/data2.csv", None, 117.0, (15000, 1), 515.0),
        ("ppg-ecg/nstdb/118e24.csv", 360.0, 360.0, (43200, 1), -7.245),
        ("machine-temp/machine_temperature_system_failure.csv", None, 1 / 300, (22695, 1), 73.96732207),
    ],
)
def test_real_tables_have_their_rates(
    shared_data: Path, name: str, given: float | None, sfreq: float, shape: tuple[int, int], first: float
) -> None:
    stream = select_stream(open_recording(shared_data / name, sfreq=given))
    assert (stream.info.sfreq, stream.data.shape, stream.data[0, 0]) == (sfreq, shape, first)


@pytest.mark.shared
def test_real_tables_that_are_no_recordings_are_refused(shared_data: Path) -> None:
    with pytest.raises(RecordingError, match="column 'Unnamed' must be numbers"):
        open_recording(shared_data / "uci-epileptic/uci_epileptic_shared.csv", sfreq=173.61)
    with pytest.raises(RecordingError, match="column 'participant_id' must be numbers"):
        open_recording(shared_data / "bids/tiny_bids/participants.tsv")
