"""EEGLAB datasets: small ones written with scipy, a real one, and agreement with MNE."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import select_stream


def _write(folder: Path, **changes: Any) -> Path:
    names = np.array([("C3", ""), ("ECG1", "ECG")], dtype=[("labels", object), ("type", object)])
    events = np.array(
        [("go", 2.5, 0.0), ("boundary", 3.5, 10.0), (7, 5.0, 0.0)],
        dtype=[("type", object), ("latency", object), ("duration", object)],
    )
    eeg = {
        "srate": 10.0,
        "nbchan": 2.0,
        "pnts": 5.0,
        "trials": 1.0,
        "data": np.arange(10.0).reshape(2, 5) / 3,
        "chanlocs": names,
        "event": events,
    }
    eeg.update(changes)
    savemat(folder / "small.set", {"EEG": eeg}, appendmat=False)
    return folder / "small.set"


def test_a_dataset_keeps_double_values_events_and_cuts(tmp_path: Path) -> None:
    recording = open_recording(_write(tmp_path))
    stream = recording.streams[0]
    np.testing.assert_array_equal(stream.data, np.arange(10.0).reshape(2, 5).T / 3)
    assert stream.info.ch_names == ("C3", "ECG1")
    assert stream.info.ch_types == ("EEG", "ECG")
    assert stream.info.ch_units == ("uV", "uV")
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [0, 1, 2, 13, 14]
    assert stream.timestamps.tolist() == [0.0, 0.1, 0.2, 1.3, 1.4]
    assert recording.markers == (
        Marker(0.15, "go", "events"),
        Marker(0.25, "boundary", "events"),
        Marker(1.4, "7", "events"),
    )
    assert recording.notes == ("boundary at row 3: 10 samples were cut out",)


def test_data_in_a_separate_file_are_read_and_checked(tmp_path: Path) -> None:
    path = _write(tmp_path, data="small.fdt")
    np.arange(10, dtype="<f4").tofile(tmp_path / "small.fdt")
    assert open_recording(tmp_path / "small.fdt").streams[0].data.tolist() == [[2.0 * i, 2 * i + 1] for i in range(5)]
    (tmp_path / "small.fdt").write_bytes(b"\x00" * 39)
    with pytest.raises(RecordingError, match=r"small.fdt must hold 2 x 5 float32 numbers, got 39 bytes"):
        open_recording(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trials": 3.0}, "must be a continuous dataset, got 3 epochs"),
        ({"srate": 0.0}, "srate must be a number > 0"),
        ({"pnts": 6.0}, r"data must have shape \(2, 6\), got \(2, 5\)"),
        ({"data": np.empty((0, 0))}, "it holds no data"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = _write(tmp_path, **changes)
    with pytest.raises(RecordingError, match=why):
        open_recording(path)


def test_other_versions_and_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = _write(tmp_path).read_bytes()
    path = tmp_path / "other.set"
    for content, why in (
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "MAT version 7.3"),
        (b"something else", "does not begin like a MAT file"),
        (whole[:300], "damaged MAT file|must be"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=why):
            open_recording(path)


@pytest.mark.shared
def test_a_real_dataset_equals_that_of_mne(shared_data: Path) -> None:
    mne = pytest.importorskip("mne")
    path = shared_data / "eeglab-set/eeglab_data.set"
    recording = open_recording(path)
    stream = select_stream(recording)
    assert (stream.data.shape, stream.info.sfreq, stream.info.type) == ((30504, 32), 128.0, "EEG")
    assert stream.info.ch_names[:3] == ("FPz", "EOG1", "F3")
    assert stream.info.ch_types[:3] == ("EEG", "EOG", "EEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw_eeglab(path, preload=True, verbose="ERROR")
    np.testing.assert_array_equal(stream.data, (raw.get_data().T * 1e6).astype(np.float32))
    markers = recording.markers_for(stream)
    assert len(markers) == 154
    assert [marker.label for marker in markers[:3]] == ["square", "square", "rt"]
    np.testing.assert_allclose([marker.time for marker in markers], np.sort(raw.annotations.onset), rtol=0, atol=1e-6)
