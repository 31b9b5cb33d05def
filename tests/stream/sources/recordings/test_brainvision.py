"""BrainVision: hand-made files, real ones, and agreement with MNE."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import select_stream
from tests.stream.sources.recordings.handmade import write_brainvision

_VALUES = struct.pack("<8h", 1, 10, 2, 20, 3, 30, 4, 40)


def test_values_have_the_headers_resolution_and_unit(tmp_path: Path) -> None:
    path = write_brainvision(tmp_path, _VALUES, marks=["New Segment,,1,1,0", "Stimulus,S  1,3,1,0"])
    recording = open_recording(path)
    stream = recording.streams[0]
    assert stream.data.tolist() == [[0.5, 20.0], [1.0, 40.0], [1.5, 60.0], [2.0, 80.0]]
    assert stream.info.ch_names == ("C3", "Fp1,a")
    assert stream.info.ch_units == ("uV", "mV")
    assert stream.info.sfreq == 250.0
    assert recording.markers == (Marker(2 / 250, "Stimulus/S  1", "markers"),)
    assert recording.notes == ()


def test_vectorized_data_read_the_same(tmp_path: Path) -> None:
    values = struct.pack("<8h", 1, 2, 3, 4, 10, 20, 30, 40)
    path = write_brainvision(tmp_path, values, orientation="VECTORIZED")
    assert open_recording(path).streams[0].data.tolist() == [[0.5, 20.0], [1.0, 40.0], [1.5, 60.0], [2.0, 80.0]]


def test_the_companions_open_the_recording_too(tmp_path: Path) -> None:
    write_brainvision(tmp_path, _VALUES)
    assert open_recording(tmp_path / "small.eeg").streams[0].n_samples == 4
    assert open_recording(tmp_path / "small.vmrk").streams[0].n_samples == 4


def test_dated_segments_show_what_was_lost(tmp_path: Path) -> None:
    marks = ["New Segment,,1,1,0,20240101120000000000", "New Segment,,3,1,0,20240101120001000000", "Stimulus,S1,3,1,0"]
    recording = open_recording(write_brainvision(tmp_path, _VALUES, marks=marks))
    stream = recording.streams[0]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [0, 1, 250, 251]
    assert stream.timestamps.tolist() == [0.0, 1 / 250, 1.0, 251 / 250]
    assert recording.markers[0].time == 1.0
    assert recording.notes == ("recording paused at row 2: 248 samples (0.992 s) are missing",)


@pytest.mark.parametrize(
    ("date", "note"),
    [("", "carries no date"), ("00000000000000000000", "carries no date"), ("20240101120000000000", "before the one")],
)
def test_segments_without_a_usable_date_are_numbered_on(tmp_path: Path, date: str, note: str) -> None:
    marks = ["New Segment,,1,1,0,20240101120000000000", f"New Segment,,3,1,0,{date}"]
    recording = open_recording(write_brainvision(tmp_path, _VALUES, marks=marks))
    assert recording.streams[0].sample_numbers is not None
    assert recording.streams[0].sample_numbers.tolist() == [0, 1, 2, 3]
    assert any(note in line for line in recording.notes)


def test_files_that_were_renamed_together_are_found(tmp_path: Path) -> None:
    path = write_brainvision(tmp_path, _VALUES)
    for suffix in (".vhdr", ".vmrk", ".eeg"):
        path.with_suffix(suffix).rename(tmp_path / f"renamed{suffix}")
    recording = open_recording(tmp_path / "renamed.vhdr")
    assert recording.streams[0].n_samples == 4
    assert any("'small.eeg', which is not there: 'renamed.eeg' is read" in note for note in recording.notes)


def test_a_missing_marker_file_is_noted_and_a_missing_data_file_refused(tmp_path: Path) -> None:
    path = write_brainvision(tmp_path, _VALUES + b"\x00")
    path.with_suffix(".vmrk").unlink()
    notes = open_recording(path).notes
    assert notes == ("1 bytes behind the last complete sample are not read", "it has no marker file")
    path.with_suffix(".eeg").unlink()
    with pytest.raises(RecordingError, match=r"No such file.*small.eeg"):
        open_recording(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Brain Vision", "Brian Vision", "does not begin like a BrainVision header"),
        ("NumberOfChannels=2", "NumberOfChannels=99999999", r"NumberOfChannels must be in \[1, 65536\]"),
        ("NumberOfChannels=2", "NumberOfChannels=3", "describes no channel Ch3 of 3"),
        ("SamplingInterval=4000", "SamplingInterval=0", "SamplingInterval must be a number of microseconds > 0"),
        ("INT_16", "INT_17", "BinaryFormat one of"),
        ("DataFormat=BINARY", "DataFormat=ASCII", "DataFormat must be BINARY"),
        ("MULTIPLEXED", "SHUFFLED", "DataOrientation must be MULTIPLEXED or VECTORIZED"),
        (",,0.5,", ",,much,", "resolution of Ch1 must be a number other than 0, got 'much'"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = write_brainvision(tmp_path, _VALUES)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(RecordingError, match=why):
        open_recording(path)


@pytest.mark.shared
def test_a_real_amplifier_loss_shows_in_the_sample_numbers(shared_data: Path) -> None:
    recording = open_recording(shared_data / "discontinuity-88ch/test_CA_208_amp_disconnection.vhdr")
    stream = select_stream(recording)
    assert (stream.data.shape, stream.info.sfreq, stream.info.type) == ((9572, 88), 1000.0, "EEG")
    assert set(stream.info.ch_units) == {"uV"}
    assert stream.sample_numbers is not None
    assert stream.sample_numbers[[6073, 6074, -1]].tolist() == [6073, 12420, 15917]
    assert stream.timestamps[6074] == 12.42
    assert stream.data[0, 0] == float(np.float32(-3677.0598))
    markers = {marker.label: marker.time for marker in recording.markers}
    assert (markers["Stimulus/s9001"], markers["Stimulus/s9002"]) == (6.073, 12.42)
    assert any("6346 samples (6.346 s) are missing" in note for note in recording.notes)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n_channels", "sfreq"),
    [
        ("bids/tiny_bids/sub-01/ses-eeg/eeg/sub-01_ses-eeg_task-rest_eeg.vhdr", 69, 5000.0),
        ("ieeg/testsub_bids/sub-testsub/ses-EphysMedOff/ieeg/"
         "sub-testsub_ses-EphysMedOff_task-gripforce_run-0_ieeg.vhdr", 10, 1000.0),
    ],
)  # fmt: skip
def test_real_values_equal_those_of_mne(shared_data: Path, name: str, n_channels: int, sfreq: float) -> None:
    mne = pytest.importorskip("mne")
    stream = select_stream(open_recording(shared_data / name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw_brainvision(shared_data / name, preload=True, verbose="ERROR")
    assert (stream.info.n_channels, stream.info.sfreq) == (n_channels, sfreq)
    assert list(stream.info.ch_names) == raw.ch_names
    scale = [1e6 if unit == "uV" else 1.0 for unit in stream.info.ch_units]
    np.testing.assert_allclose(stream.data, raw.get_data().T * scale, rtol=1e-12)


@pytest.mark.shared
def test_real_implant_channels_have_their_types(shared_data: Path) -> None:
    folder = shared_data / "ieeg/testsub_bids/sub-testsub/ses-EphysMedOff/ieeg"
    stream = select_stream(open_recording(next(folder.glob("*.vhdr"))))
    assert stream.info.ch_types == ("LFP",) * 3 + ("ECoG",) * 6 + ("misc",)
    assert stream.info.type == "ECoG"
    stored = np.fromfile(next(folder.glob("*.eeg")), "<f4").reshape(-1, 10)
    np.testing.assert_array_equal(stream.data, stored.astype(np.float64) * 0.1)
