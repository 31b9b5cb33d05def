"""Opening paths that are no recordings, and choosing among streams."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError, StreamMismatch
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording, median, select_stream
from tests.stream.sources.recordings.handmade import small_edf, small_gdf, small_xdf


def _stream(name: str, kind: str, n_samples: int = 3, source_id: str = "") -> RecordedStream:
    info = StreamInfo(name, kind, source_id, 10.0, ("a",), (kind,), ("",))
    return RecordedStream(info, np.zeros((n_samples, 1)), np.arange(float(n_samples)))


def _recording(*streams: RecordedStream) -> Recording:
    return Recording(Path("x.xdf"), streams)


def test_a_run_folder_opens_as_its_signals(tmp_path: Path) -> None:
    (tmp_path / "signals.xdf").write_bytes(small_xdf())
    recording = open_recording(str(tmp_path))
    assert recording.path == tmp_path / "signals.xdf"
    assert recording.streams[0].n_samples == 4


@pytest.mark.parametrize("suffix", [".xdf", ".edf", ".bdf", ".vhdr", ".set", ".gdf", ".npz", ".csv", ".txt.gz"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"path must be a readable recording \(it is empty\), got '.*empty"):
        open_recording(tmp_path / f"empty{suffix}")


@pytest.mark.parametrize("suffix", [".xdf", ".edf", ".bdf", ".vhdr", ".set", ".gdf", ".npz"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"other{suffix}").write_bytes(b"hello, I am a letter and no recording\n" * 30)
    with pytest.raises(RecordingError, match="it does not begin"):
        open_recording(tmp_path / f"other{suffix}")


def test_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no such file"):
        open_recording(tmp_path / "missing.xdf")
    with pytest.raises(RecordingError, match=r"it is a folder without signals.xdf"):
        open_recording(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(RecordingError, match=r"extension must be one of \.xdf, .*\.csv.*got '.*film.mp4'"):
        open_recording(tmp_path / "film.mp4")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    with pytest.raises(RecordingError, match="damaged gzip file"):
        open_recording(tmp_path / "cut.csv.gz")


def test_a_rate_is_refused_where_the_file_says_its_own(tmp_path: Path) -> None:
    (tmp_path / "small.gdf").write_bytes(small_gdf())
    with pytest.raises(RecordingError, match=r"sfreq must be left out for small.gdf, which says its own rate, got 5"):
        open_recording(tmp_path / "small.gdf", sfreq=5.0)
    with pytest.raises(RecordingError, match="sfreq must be in"):
        open_recording(tmp_path / "small.gdf", sfreq=float("nan"))


def test_the_extension_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "SMALL.EDF").write_bytes(small_edf())
    assert open_recording(tmp_path / "SMALL.EDF").streams[0].n_samples == 12


def test_a_name_wins_over_an_id_and_a_type() -> None:
    named, by_id, by_type = _stream("EMG", "x"), _stream("b", "y", source_id="EMG"), _stream("c", "EMG")
    recording = _recording(by_type, by_id, named)
    assert select_stream(recording, "EMG") is named
    assert select_stream(_recording(by_type, by_id), "EMG") is by_id
    assert select_stream(_recording(by_type, by_id), "emg") is by_type


def test_without_a_choice_the_most_eeg_like_stream_is_taken() -> None:
    eeg = _stream("a", "EEG")
    assert select_stream(_recording(_stream("b", "EMG"), eeg, _stream("c", "ACC"))) is eeg
    only = _stream("m", "misc")
    assert select_stream(_recording(_stream("e", "EEG", 0), only)) is only


def test_without_a_choice_streams_of_one_kind_are_listed() -> None:
    recording = _recording(_stream("a", "EEG", source_id="id-7"), _stream("b", "EEG"))
    listed = r"'a' \(type EEG, id id-7, 10 Hz, 1 channels, 3 samples\), 'b' \(type EEG, id -, 10 Hz"
    with pytest.raises(StreamMismatch, match=f"select must be given for x.xdf, which has 2 streams.*{listed}"):
        select_stream(recording)
    with pytest.raises(StreamMismatch, match=f"got 'z'; it has {listed}"):
        select_stream(recording, "z")
    with pytest.raises(StreamMismatch, match="select must be given"):
        select_stream(_recording(_stream("a", "ACC"), _stream("b", "GYRO")))


def test_markers_about_one_stream_stay_with_it() -> None:
    first, second = _stream("a", "EEG"), _stream("b", "EEG")
    sources = (
        MarkerStream("l", (Marker(2.0, "x"),), about="a"),
        MarkerStream("m", (Marker(1.0, "all"), Marker(3.0, "end"))),
    )
    recording = Recording(Path("x"), (first, second), sources)
    assert [marker.label for marker in recording.markers_for(first)] == ["all", "x", "end"]
    assert [marker.label for marker in recording.markers_for(second)] == ["all", "end"]


def test_a_stream_of_the_wrong_shape_cannot_be_made() -> None:
    info = StreamInfo("a", "", "", 1.0, ("a",), ("",), ("",))
    with pytest.raises(ValueError, match=r"data must have shape \(3, 1\), got \(2, 1\)"):
        RecordedStream(info, np.zeros((2, 1)), np.zeros(3))
    with pytest.raises(ValueError, match=r"valid must have shape \(2,\), got \(1,\)"):
        RecordedStream(info, np.zeros((2, 1)), np.zeros(2), valid=np.ones(1, np.bool_))


@pytest.mark.parametrize(("values", "middle"), [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 3.0, 2.0], 2.5), ([7.0], 7.0)])
def test_the_median_is_the_middle_of_the_sorted_values(values: list[float], middle: float) -> None:
    assert median(values) == middle


@pytest.mark.parametrize("suffix", [".csv", ".xdf", ".npz", ".edf"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(RecordingError, match="it is neither a file nor a folder"):
        open_recording(path)
