"""NPZ recordings: the dump layout, dataset adapters, archives that lie."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError, StreamMismatch
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.adapters import ADAPTERS
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream


def _dump(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "data": np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]),
        "timestamps": np.array([7.0, 7.1, 7.9]),
        "valid": np.array([True, False, True]),
        "first_sample": np.int64(40),
        "channels": np.array(["C3", "Temp"]),
        "sfreq": np.float64(10.0),
        "units": np.array(["microvolts", "DegC"]),
    }
    return {key: value for key, value in {**arrays, **changes}.items() if value is not None}


def _open(folder: Path, arrays: dict[str, Any], adapter: str | None = None) -> Recording:
    np.savez(folder / "small.npz", **arrays)
    return open_recording(folder / "small.npz", adapter=adapter)


def test_a_dump_keeps_validity_numbers_and_units(tmp_path: Path) -> None:
    stream = _open(tmp_path, _dump(samples=np.array([40, 41, 49]))).streams[0]
    assert stream.valid is not None
    assert stream.valid.tolist() == [True, False, True]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [40, 41, 49]
    assert stream.info.ch_units == ("uV", "degC")
    assert stream.info.ch_types == ("EEG", "TEMP")
    np.testing.assert_array_equal(stream.data, [[1, 2], [3, np.nan], [5, 6]])
    assert stream.timestamps.tolist() == [7.0, 7.1, 7.9]


def test_the_number_of_every_sample_wins_over_the_first(tmp_path: Path) -> None:
    stream = _open(tmp_path, _dump(samples=np.array([40, 41, 99]))).streams[0]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [40, 41, 99]
    bare = _open(tmp_path, _dump(first_sample=None, valid=None, units=None)).streams[0]
    assert (bare.sample_numbers, bare.valid, bare.info.ch_units) == (None, None, ("", ""))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data": np.zeros(3)}, "data must be an array of numbers with 2 axes"),
        ({"data": np.zeros((3, 1))}, r"data must have shape \(n_samples, n_channels\)"),
        ({"sfreq": np.float64(0)}, "sfreq must be in"),
        ({"valid": np.ones(2, bool)}, "valid must be 3 booleans"),
        ({"samples": np.array([1, 1, 2])}, "samples must be 3 ascending whole numbers"),
        ({"samples": np.array([-1, 1, 2])}, r"samples must be in \[0, 2\*\*53\], got -1 to 2"),
        ({"first_sample": np.float64(0.5)}, "first_sample must be one whole number"),
        ({"first_sample": np.int64(-5)}, "first_sample must be one whole number >= 0, got -5"),
        ({"channels": np.array([1, 2])}, "channels must be a list of texts"),
        ({"channels": np.array(["a", "b"], dtype=object)}, "must hold numbers or texts, got 'O'"),
        ({"data": None}, "no known layout has the arrays"),
    ],
)
def test_a_dump_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        _open(tmp_path, _dump(**changes))


def test_recordings_of_one_archive_are_streams_by_name(tmp_path: Path) -> None:
    arrays = {
        "signal": np.array([[1, 2, 3], [4, 5, 6]], np.int16),
        "name": np.array(["Z001", "S002"]),
        "set": np.array(["Z", "S"]),
        "fs": np.float64(173.61),
    }
    recording = _open(tmp_path, arrays)
    stream = select_stream(recording, "S002")
    assert stream.data.tolist() == [[4.0], [5.0], [6.0]]
    assert (stream.info.type, stream.info.sfreq, stream.info.ch_units) == ("EEG", 173.61, ("uV",))
    assert stream.timestamps.tolist() == [0.0, 1 / 173.61, 2 / 173.61]
    assert recording.markers_for(stream) == (Marker(0.0, "S", "set"),)


def test_labelled_windows_are_streams(tmp_path: Path) -> None:
    arrays = {
        "signal": np.arange(12, dtype=np.float32).reshape(2, 2, 3),
        "label": np.array([0, 1], np.int8),
        "source_file": np.array(["chb01_03", "chb01_04"]),
        "fs": np.float64(256.0),
        "channel": np.array(["FP1-F7", "T8-P8"]),
    }
    recording = _open(tmp_path, arrays)
    assert [stream.info.name for stream in recording.streams] == ["chb01_00", "chb01_01"]
    stream = select_stream(recording, "chb01_01")
    assert stream.data.tolist() == [[6.0, 9.0], [7.0, 10.0], [8.0, 11.0]]
    assert stream.info.source_id == "chb01_04"
    assert recording.markers_for(stream) == (Marker(0.0, "1", "label"),)


def test_a_night_marks_the_changes_of_its_stages(tmp_path: Path) -> None:
    arrays = {
        "ppg": np.arange(120, dtype=np.int32).reshape(30, 4),
        "stage": np.array([1, 1, 2], np.int8),
        "fs": np.float64(10.0),
        "epoch_s": np.float64(1.0),
        "channel": np.array(["green", "green2", "ir", "red"]),
    }
    recording = _open(tmp_path, arrays, adapter="ppg-night")
    assert recording.streams[0].info.type == "PPG"
    assert recording.markers == (Marker(0.0, "light", "stage"), Marker(2.0, "deep", "stage"))


def test_an_adapter_must_exist_and_fit(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=f"adapter must be one of {', '.join(ADAPTERS)}, got 'nope'"):
        _open(tmp_path, _dump(), adapter="nope")
    with pytest.raises(RecordingError, match=r"for adapter 'bonn' it must have the arrays \['fs', 'name', 'signal'\]"):
        _open(tmp_path, _dump(), adapter="bonn")


def _archive(folder: Path, member: bytes) -> Path:
    with zipfile.ZipFile(folder / "lie.npz", "w") as archive:
        archive.writestr("data.npy", member)
    return folder / "lie.npz"


def _member(shape: tuple[int, ...], descr: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + body


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (_member((10**12,), "<f8", b"12345678"), r"claims \(1000000000000,\) x 8 bytes, got 8 bytes"),
        (_member((0, 10**12), "<f8", b""), "items without bytes"),
        (_member((10**9,), "<U0", b""), "items without bytes"),
        (b"not an array", "damaged NPZ archive"),
    ],
)
def test_an_array_that_lies_about_its_size_is_refused(tmp_path: Path, member: bytes, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        open_recording(_archive(tmp_path, member))


@pytest.mark.shared
def test_real_seizure_recordings_are_selected_by_name(shared_data: Path) -> None:
    recording = open_recording(shared_data / "uci-epileptic/bonn_recordings_shared.npz")
    assert len(recording.streams) == 400
    stream = select_stream(recording, "Z001")
    assert (stream.data.shape, stream.info.sfreq) == ((4097, 1), 173.61)
    assert stream.data[:6, 0].tolist() == [12.0, 22.0, 35.0, 45.0, 69.0, 74.0]
    with pytest.raises(StreamMismatch, match=r"select must be the name, type or id .*got 'Q1'.*and 380 more"):
        select_stream(recording, "Q1")


@pytest.mark.shared
def test_real_windows_and_nights_have_their_labels(shared_data: Path) -> None:
    windows = open_recording(shared_data / "seizure-scalp/chb01_windows.npz")
    stream = select_stream(windows, "chb01_13")
    assert (len(windows.streams), stream.data.shape) == (14, (2561, 23))
    assert stream.info.ch_names[14] == "T8-P8"
    assert stream.info.ch_names[22] == "T8-P8#2"
    np.testing.assert_array_equal(stream.data[:, 14], stream.data[:, 22])
    assert windows.markers_for(stream) == (Marker(0.0, "1", "label"),)
    night = open_recording(shared_data / "ppg-sleep/night01.npz")
    assert night.streams[0].data.shape == (273300, 4)
    assert night.streams[0].data[0].tolist() == [89888.0, 79277.0, 84491.0, 58914.0]
    assert [(m.time, m.label) for m in night.markers[:2]] == [(0.0, "wake"), (30.0, "light")]


def test_a_first_sample_numbers_the_rows_only_where_stamps_are_even(tmp_path: Path) -> None:
    even = _open(tmp_path, _dump(timestamps=np.array([7.0, 7.1, 7.2]))).streams[0]
    assert even.sample_numbers is not None
    assert even.sample_numbers.tolist() == [40, 41, 42]
    uneven = _open(tmp_path, _dump()).streams[0]
    assert uneven.sample_numbers is None
    assert uneven.first_sample == 40
