"""Text recordings of the OpenBCI GUI."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream

_HEAD = "%OpenBCI Raw EXG Data\n%Number of channels = 2\n%Sample Rate = 250 Hz\n%Board = OpenBCI_GUI$BoardCytonSerial\n"
_NAMES = (
    "Sample Index, EXG Channel 0, EXG Channel 1, Accel Channel 0, Not Used, Timestamp, Marker Channel, "
    "Timestamp (Formatted)\n"
)


def _rows(indices: list[int]) -> str:
    return "".join(
        f"{index}, {row}.5, -{row}, 0.1, 0, {1557936053000 + 4 * row}, {3.0 if row == 1 else 0.0}, 12:00:53.329\n"
        for row, index in enumerate(indices)
    )


def _open(folder: Path, content: str) -> Recording:
    (folder / "gui.txt").write_text(content, encoding="utf-8")
    return open_recording(folder / "gui.txt")


def test_the_sample_index_counts_lost_packets_across_its_wrap(tmp_path: Path) -> None:
    recording = _open(tmp_path, _HEAD + _NAMES + _rows([253, 254, 255, 0, 1, 4, 5]))
    exg, accel = recording.streams
    assert exg.sample_numbers is not None
    assert exg.sample_numbers.tolist() == [0, 1, 2, 3, 4, 7, 8]
    assert exg.data[1].tolist() == [1.5, -1.0]
    assert exg.timestamps[:2].tolist() == [1557936053.0, 1557936053.004]
    assert (exg.info.ch_names, exg.info.ch_units, exg.info.sfreq) == (
        ("EXG Channel 0", "EXG Channel 1"), ("uV", "uV"), 250.0,
    )  # fmt: skip
    assert (accel.info.type, accel.info.ch_units, accel.data.shape) == ("ACC", ("g",), (7, 1))
    assert recording.markers == (Marker(1557936053.004, "3", "Marker Channel"),)
    assert "its sample index shows 2 lost samples" in recording.notes
    assert select_stream(recording) is exg


def test_a_board_that_counts_in_twos_loses_nothing(tmp_path: Path) -> None:
    exg = _open(tmp_path, _HEAD + _NAMES + _rows([250, 252, 254, 0, 2, 6])).streams[0]
    assert exg.sample_numbers is not None
    assert exg.sample_numbers.tolist() == [0, 1, 2, 3, 4, 6]


def test_a_repeated_index_is_the_next_sample_and_noted(tmp_path: Path) -> None:
    recording = _open(tmp_path, _HEAD + _NAMES + _rows([1, 2, 2, 3]))
    assert recording.streams[0].sample_numbers is not None
    assert recording.streams[0].sample_numbers.tolist() == [0, 1, 2, 3]
    assert any("repeats 1 times" in note for note in recording.notes)


def test_an_index_that_is_none_leaves_the_stamps_to_judge(tmp_path: Path) -> None:
    assert _open(tmp_path, _HEAD + _NAMES + _rows([1, 2, 300])).streams[0].sample_numbers is None
    ganglion = _HEAD.replace("BoardCytonSerial", "BoardGanglionBLE")
    assert _open(tmp_path, ganglion + _NAMES + _rows([1, 2, 3])).streams[0].sample_numbers is None


def test_an_older_file_without_column_names_is_read(tmp_path: Path) -> None:
    stream = _open(tmp_path, _HEAD + "0, 1.5, 2.5, 0.1, 9\n1, 3.5, 4.5, 0.1, 9\n").streams[0]
    assert stream.data.tolist() == [[1.5, 2.5], [3.5, 4.5]]
    assert stream.timestamps.tolist() == [0.0, 0.004]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_HEAD.replace("%Sample Rate = 250 Hz\n", "") + _NAMES + _rows([1]), "must have a line '%Sample Rate"),
        (_HEAD + "Sample Index, Other\n1, 2\n", "no column 'EXG Channel"),
        (_HEAD.replace("channels = 2", "channels = 9") + "0, 1.5\n", "must have a line '%Number of channels = N'"),
        (_HEAD + _NAMES + _rows([1]) + "2, 3\n", "line 7: a row must have 8 cells, got 2"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        _open(tmp_path, content)


def test_a_rate_cannot_be_given_for_it(tmp_path: Path) -> None:
    path = tmp_path / "gui.txt.gz"
    path.write_bytes(gzip.compress((_HEAD + _NAMES + _rows([1, 2])).encode()))
    with pytest.raises(RecordingError, match=r"sfreq must be left out for gui\.txt\.gz"):
        open_recording(path, sfreq=100.0)


@pytest.mark.shared
def test_a_real_file_loses_nothing(shared_data: Path) -> None:
    recording = open_recording(shared_data / "openbci-text/OpenBCI_GUI-v6-blinks-jawClench-alpha.txt.gz")
    stream = select_stream(recording)
    assert (stream.data.shape, stream.info.sfreq) == ((22490, 8), 250.0)
    assert stream.data[0, :3].tolist() == [61379.36, 49492.89, -16597.06]
    assert stream.sample_numbers is not None
    assert stream.sample_numbers[[0, -1]].tolist() == [0, 22489]
    assert stream.timestamps[0] == 1557936053.329
