"""GDF: hand-made files of both versions, and agreement with MNE."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording
from tests.stream.sources.recordings.handmade import gdf_bytes, small_gdf


def _open(folder: Path, content: bytes) -> Recording:
    (folder / "small.gdf").write_bytes(content)
    return open_recording(folder / "small.gdf")


@pytest.mark.parametrize("version", ["GDF 1.25", "GDF 2.20"])
def test_both_versions_give_values_units_and_events(tmp_path: Path, version: str) -> None:
    recording = _open(tmp_path, small_gdf(version))
    stream = recording.streams[0]
    assert (stream.info.name, stream.info.sfreq, stream.info.type) == ("small", 4.0, "EEG")
    assert stream.info.ch_names == ("C3", "C4")
    assert stream.info.ch_units == ("uV", "uV")
    np.testing.assert_allclose(stream.data[:, 0], np.arange(8.0), rtol=0, atol=1e-13)
    np.testing.assert_allclose(stream.data[:, 1], -0.1 * np.arange(1, 9), rtol=0, atol=1e-13)
    assert stream.timestamps.tolist() == [i / 4 for i in range(8)]
    assert recording.markers == (Marker(0.0, "768", "events"), Marker(1.0, "769", "events"))


def test_types_and_rates_may_differ_between_signals(tmp_path: Path) -> None:
    scale = (-1.0, 1.0, -1.0, 1.0)
    recording = _open(
        tmp_path,
        gdf_bytes(
            [
                ("C3", 4274, 16, 0, scale, [[0.25, 0.5]]),
                ("Temp", 6048, 17, 0, scale, [[36.5]]),
                ("x", 77, 5, 0, scale, [[1, 2]]),
            ],
            record=(1, 2),
        ),
    )
    fast, slow = recording.streams
    assert (fast.info.sfreq, slow.info.sfreq) == (4.0, 2.0)
    assert (fast.info.ch_units, slow.info.ch_units) == (("mV", ""), ("degC",))
    assert fast.data.tolist() == [[0.25, 1.0], [0.5, 2.0]]
    assert slow.data.tolist() == [[36.5]]
    assert any("unknown unit code 77" in note for note in recording.notes)


def test_an_unknown_number_of_records_is_counted_from_the_file(tmp_path: Path) -> None:
    limits = (-1.0, 1.0, -1.0, 1.0)
    recording = _open(tmp_path, gdf_bytes([("C3", 4275, 3, 0, limits, [[1], [2], [3]])], n_records=-1))
    assert recording.streams[0].n_samples == 3
    assert any("announces -1 data records, the file has 3" in note for note in recording.notes)


def test_a_cut_event_table_is_noted(tmp_path: Path) -> None:
    recording = _open(tmp_path, small_gdf()[:-1])
    assert recording.markers == ()
    assert any("event table announces 2 events but is cut off" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("begin", "new", "why"),
    [
        (0, b"GIF 2.20", "does not begin like a GDF file"),
        (252, b"\xff\xff", r"number of signals must be in \[1, 4096\], got 65535"),
        (184, b"\x01\x00", "must have 768 bytes, got 256"),
        (244, bytes(8), "record duration must be > 0 seconds"),
        (256 + 2 * 220, b"\x63\x00\x00\x00", "data type must be one of"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(tmp_path: Path, begin: int, new: bytes, why: str) -> None:
    whole = small_gdf()
    with pytest.raises(RecordingError, match=why):
        _open(tmp_path, whole[:begin] + new + whole[begin + len(new) :])


def test_values_and_events_equal_those_of_mne(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    recording = _open(tmp_path, small_gdf())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw_gdf(tmp_path / "small.gdf", preload=True, verbose="ERROR")
    np.testing.assert_allclose(recording.streams[0].data, raw.get_data().T * 1e6, rtol=1e-12, atol=1e-12)
    assert [m.time for m in recording.markers] == raw.annotations.onset.tolist()
    assert [m.label for m in recording.markers] == [str(text) for text in raw.annotations.description]
