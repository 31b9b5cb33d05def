"""EDF and BDF: hand-made files, real ones, and agreement with edfio."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream
from tests.stream.sources.recordings.handmade import edf_bytes, small_edf


def _open(folder: Path, content: bytes, name: str = "small.edf") -> Recording:
    (folder / name).write_bytes(content)
    return open_recording(folder / name)


@pytest.mark.parametrize("is_bdf", [False, True])
def test_each_rate_is_a_stream_in_the_files_own_units(tmp_path: Path, is_bdf: bool) -> None:
    recording = _open(tmp_path, small_edf(is_bdf=is_bdf), "small.bdf" if is_bdf else "small.edf")
    fast, slow = recording.streams
    assert (fast.info.name, fast.info.sfreq, fast.info.type) == ("small@4Hz", 4.0, "EEG")
    assert (slow.info.name, slow.info.sfreq, slow.info.type) == ("small@2Hz", 2.0, "TEMP")
    assert fast.info.ch_names == ("EEG C3", "EEG C4")
    assert fast.info.ch_units == ("uV", "uV")
    assert slow.info.ch_units == ("degC",)
    np.testing.assert_allclose(fast.data[:4, 0], [0.0, 10.0, 20.0, -30.0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(slow.data[:, 0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], rtol=0, atol=1e-13)
    assert fast.timestamps.tolist() == [i / 4 for i in range(12)]
    assert fast.sample_numbers is not None
    assert fast.sample_numbers.tolist() == list(range(12))
    assert recording.markers == (Marker(1.25, "go", "annotations"),)
    assert recording.notes == ()


def test_the_most_eeg_like_rate_is_selected(tmp_path: Path) -> None:
    assert select_stream(_open(tmp_path, small_edf())).info.name == "small@4Hz"


def test_a_discontinuous_file_shows_its_gap_in_numbers_and_stamps(tmp_path: Path) -> None:
    tal = [b"+0.5\x14\x14\x00", b"+1.5\x14\x14\x00", b"+9.5\x14\x14\x00+9.75\x14back\x14\x00"]
    content = edf_bytes([("EEG C3", "uV", (-1, 1, -1, 1), [[0, 1], [2, 3], [4, 5]])], annotations=tal, reserved="EDF+D")
    recording = _open(tmp_path, content)
    stream = recording.streams[0]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers.tolist() == [0, 1, 2, 3, 18, 19]
    assert stream.timestamps.tolist() == [0.0, 0.5, 1.0, 1.5, 9.0, 9.5]
    assert recording.markers == (Marker(9.25, "back", "annotations"),)


def test_a_record_that_begins_too_early_is_numbered_on_and_noted(tmp_path: Path) -> None:
    tal = [b"+0\x14\x14\x00", b"+0.1\x14\x14\x00"]
    content = edf_bytes([("C3", "uV", (-1, 1, -1, 1), [[0, 1], [2, 3]])], annotations=tal, reserved="EDF+D")
    recording = _open(tmp_path, content)
    assert recording.streams[0].timestamps.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert any("begins before the one before it ends" in note for note in recording.notes)


def test_a_discontinuous_file_without_start_times_says_so(tmp_path: Path) -> None:
    recording = _open(tmp_path, edf_bytes([("C3", "uV", (-1, 1, -1, 1), [[0], [1]])], reserved="EDF+D"))
    assert recording.streams[0].timestamps.tolist() == [0.0, 1.0]
    assert any("carry no start times" in note for note in recording.notes)


@pytest.mark.parametrize("announced", [-1, 99])
def test_a_wrong_number_of_records_is_corrected_and_noted(tmp_path: Path, announced: int) -> None:
    content = edf_bytes([("C3", "uV", (-1, 1, -1, 1), [[0], [1]])], n_records=announced)
    recording = _open(tmp_path, content + b"\x01")
    assert recording.streams[0].n_samples == 2
    assert any(f"announces {announced} data records, the file has 2" in note for note in recording.notes)
    assert any("1 bytes behind the last complete data record" in note for note in recording.notes)


def test_a_channel_without_a_range_keeps_its_stored_numbers(tmp_path: Path) -> None:
    recording = _open(tmp_path, edf_bytes([("C3", "uV", (0, 0, -1, 1), [[5], [6]])]))
    assert recording.streams[0].data[:, 0].tolist() == [5.0, 6.0]
    assert recording.streams[0].info.ch_units == ("",)
    assert any("no usable range" in note for note in recording.notes)


def test_the_status_channel_of_a_bdf_file_becomes_markers(tmp_path: Path) -> None:
    scale = (-8388608, 8388607, -8388608, 8388607)
    status = [[0x10000, 0x10005], [0x10005, 0x10000], [0x10007, 0x10007]]
    content = edf_bytes(
        [("A1", "uV", scale, [[-8388608, 1], [2, 3], [4, 8388607]]), ("Status", "Boolean", scale, status)], is_bdf=True
    )
    recording = _open(tmp_path, content, "small.bdf")
    assert recording.streams[0].info.ch_names == ("A1",)
    np.testing.assert_array_equal(recording.streams[0].data[[0, -1], 0], [-8388608, 8388607])
    assert recording.markers == (Marker(0.5, "5", "Status"), Marker(2.0, "7", "Status"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda b: b[:200], "number of signals must be in"),
        (lambda b: b[:700], "must have 1280 bytes"),
        (lambda b: b[:1280], "no complete data record"),
        (lambda b: b[:252] + b"9999" + b[256:], r"number of signals must be in \[1, 4096\], got '9999'"),
        (lambda b: b[:244] + b"nothing " + b[252:], "record duration must be a number >= 0, got 'nothing'"),
        (lambda b: b[:244] + b"0       " + b[252:], "record duration must be > 0 seconds"),
        (lambda b: b"1" + b[1:], "does not begin like an EDF or BDF file"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, change: object, why: str) -> None:
    assert callable(change)
    with pytest.raises(RecordingError, match=why):
        _open(tmp_path, change(small_edf()))


def test_data_that_were_converted_as_text_are_refused(tmp_path: Path) -> None:
    whole = small_edf()
    with pytest.raises(RecordingError, match="converted as if they were text"):
        _open(tmp_path, whole[:1280] + b"\xef\xbf\xbd" * 40)


def test_a_file_of_annotations_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="annotations but no signals"):
        _open(tmp_path, edf_bytes([], annotations=[b"+0\x14\x14\x00"], record_s="0"))


def test_numbers_equal_those_of_edfio(tmp_path: Path) -> None:
    edfio = pytest.importorskip("edfio")
    rng = np.random.default_rng(5)
    signals = [
        edfio.EdfSignal(rng.uniform(-300, 300, 400), 100, label=f"C{i}", physical_dimension="uV") for i in (3, 4)
    ]
    edf = edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1.5, None, "T1"), edfio.EdfAnnotation(2, 1, "T\u00e9")])
    edf.write(tmp_path / "twin.edf")
    recording = open_recording(tmp_path / "twin.edf")
    twin = edfio.read_edf(tmp_path / "twin.edf")
    for column, signal in enumerate(twin.signals):
        # edfio adds its offset before scaling: the same line, rounded once more.
        np.testing.assert_allclose(recording.streams[0].data[:, column], signal.data, rtol=0, atol=1e-10)
    assert [(m.time, m.label) for m in recording.markers] == [(1.5, "T1"), (2.0, "T\u00e9")]


def test_24_bit_numbers_equal_those_of_edfio(tmp_path: Path) -> None:
    edfio = pytest.importorskip("edfio")
    signal = edfio.BdfSignal(np.random.default_rng(6).uniform(-1e5, 1e5, 300), 100, label="A1")
    buffer = io.BytesIO()
    edfio.Bdf([signal]).write(buffer)
    stream = _open(tmp_path, buffer.getvalue(), "twin.bdf").streams[0]
    twin = edfio.read_bdf(io.BytesIO(buffer.getvalue())).signals[0]
    np.testing.assert_allclose(stream.data[:, 0], twin.data, rtol=0, atol=1e-8)


@pytest.mark.shared
def test_a_real_night_keeps_its_two_rates(shared_data: Path) -> None:
    fast, slow = open_recording(shared_data / "edf/sleepedf_short_psg.edf").streams
    assert fast.info.ch_names == ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")
    assert (fast.info.sfreq, fast.data.shape, fast.info.type) == (100.0, (30000, 3), "EEG")
    assert (slow.info.sfreq, slow.data.shape) == (1.0, (300, 4))
    assert slow.info.ch_types == ("RESP", "EMG", "TEMP", "misc")
    assert slow.info.ch_units == ("", "uV", "degC", "")
    np.testing.assert_allclose(fast.data[0], [5.016849817, -2.467399267, 16.508669109], atol=1e-9)
    assert slow.data[0, 2] == pytest.approx(37.20645161)


@pytest.mark.shared
def test_a_real_motor_task_has_its_annotations(shared_data: Path) -> None:
    recording = open_recording(shared_data / "edf/motor_T0T1T2_64ch_128Hz.edf")
    stream = select_stream(recording)
    assert (stream.data.shape, stream.info.sfreq, stream.info.type) == ((15872, 64), 128.0, "EEG")
    assert set(stream.info.ch_types) == {"EEG"}
    markers = recording.markers_for(stream)
    assert len(markers) == 38
    assert [(m.time, m.label) for m in markers[:3]] == [(0.0, "T0"), (1.375, "T1"), (6.5, "T0")]
    assert stream.data[0, :3].tolist() == [21.0, 9.0, 20.0]


@pytest.mark.shared
def test_real_converter_counts_stay_whole_numbers(shared_data: Path) -> None:
    stream = select_stream(open_recording(shared_data / "seizure-scalp/malow_0-300s.edf"))
    assert (stream.data.shape, stream.info.sfreq) == ((30000, 31), 100.0)
    assert set(stream.info.ch_units) == {"adu"}
    assert stream.info.ch_types[-1] == "misc"
    np.testing.assert_array_equal(stream.data, stream.data.round())


@pytest.mark.shared
def test_a_real_hypnogram_has_no_signals(shared_data: Path) -> None:
    with pytest.raises(RecordingError, match=r"it has annotations but no signals\), got '.*Hypnogram.edf'"):
        open_recording(shared_data / "edf/SC4001EC-Hypnogram.edf")
