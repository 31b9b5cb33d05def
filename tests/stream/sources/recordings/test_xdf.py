"""XDF: hand-made files, real ones, and agreement with pyxdf's raw output."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError, StreamMismatch
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream
from tests.stream.sources.recordings.handmade import (
    BOUNDARY,
    small_xdf,
    xdf_chunk,
    xdf_file,
    xdf_footer,
    xdf_header,
    xdf_offset,
    xdf_samples,
    xdf_texts,
)


def _open(folder: Path, content: bytes, name: str = "small.xdf") -> Recording:
    (folder / name).write_bytes(content)
    return open_recording(folder / name)


def test_a_stream_keeps_its_raw_stamps_and_its_described_channels(tmp_path: Path) -> None:
    stream = select_stream(_open(tmp_path, small_xdf()))
    assert stream.info.name == "amp"
    assert (stream.info.type, stream.info.source_id, stream.info.sfreq) == ("EEG", "amp-1", 100.0)
    assert stream.info.ch_names == ("C3", "C4")
    assert stream.info.ch_units == ("uV", "uV")
    assert stream.info.ch_types == ("EEG", "EEG")
    assert stream.sample_numbers is None
    np.testing.assert_array_equal(stream.data, [[1, 2], [3, 4], [5, 6], [7, 8]])
    assert stream.timestamps.tolist() == [10.0, 10.0 + 0.01, 10.0 + 0.01 + 0.01, 10.05]
    assert stream.data.flags.c_contiguous
    assert not stream.data.flags.writeable


def test_markers_of_another_computer_come_on_the_data_clock(tmp_path: Path) -> None:
    recording = _open(tmp_path, small_xdf())
    assert recording.markers == (Marker(-89.98, "go", "marks"), Marker(-89.96, "stop", "marks"))
    stream = select_stream(recording, "amp")
    shifted = recording.markers_for(stream)
    assert [marker.label for marker in shifted] == ["go", "stop"]
    assert shifted[0].time == -89.98 + 100.0


def test_markers_of_the_same_computer_are_not_shifted_by_noise_of_the_offsets(tmp_path: Path) -> None:
    recording = _open(
        tmp_path,
        xdf_file(
            xdf_header(1, n_channels=1),
            xdf_header(2, name="m", kind="Markers", n_channels=1, sfreq="0", fmt="int32"),
            xdf_offset(1, 1.0, 3.0),
            xdf_offset(2, 1.0, 3.0004),
            xdf_samples(1, "f", [(1.0, (0.0,))]),
            xdf_samples(2, "i", [(1.0, (7,))]),
        ),
    )
    assert recording.markers_for(recording.streams[0]) == (Marker(1.0, "7", "m"),)


def test_the_median_of_the_offsets_is_used_and_localhost_is_no_computer_name(tmp_path: Path) -> None:
    recording = _open(
        tmp_path,
        xdf_file(
            xdf_header(1, n_channels=1, host="localhost"),
            xdf_header(2, name="m", kind="Markers", n_channels=2, sfreq="0", fmt="string", host="localhost"),
            *[xdf_offset(1, t, o) for t, o in ((1.0, 2.0), (2.0, 900.0), (3.0, 2.5))],
            *[xdf_offset(2, t, o) for t, o in ((1.0, 4.0), (2.0, 5.0))],
            xdf_samples(1, "f", [(1.0, (0.0,))]),
            xdf_texts(2, [(1.0, ["left", "hand"])]),
        ),
    )
    assert recording.streams[0].clock_offset_s == 2.5
    assert recording.markers_for(recording.streams[0]) == (Marker(3.0, "left hand", "m"),)
    assert any("clock was reset" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("fmt", "code"), [("int8", "b"), ("int16", "h"), ("int32", "i"), ("int64", "q"), ("double64", "d")]
)
def test_every_number_format_becomes_float64(tmp_path: Path, fmt: str, code: str) -> None:
    stream = _open(tmp_path, xdf_file(xdf_header(1, fmt=fmt), xdf_samples(1, code, [(1.0, (-100, 101))]))).streams[0]
    assert stream.data.dtype == np.float64
    assert stream.data.tolist() == [[-100.0, 101.0]]


def test_channels_without_a_description_are_numbered_and_take_the_stream_type(tmp_path: Path) -> None:
    stream = _open(tmp_path, xdf_file(xdf_header(1, kind="EMG"), xdf_samples(1, "f", [(1.0, (0, 0))]))).streams[0]
    assert stream.info.ch_names == ("ch1", "ch2")
    assert stream.info.ch_types == ("EMG", "EMG")
    assert stream.info.ch_units == ("", "")


def test_an_auxiliary_input_is_no_eeg_whatever_the_sender_declares(shared_data: Path) -> None:
    recording = open_recording(shared_data / "xdf/muse-multistream/sub-P001_ses-S001_task-Default_run-001_eeg.xdf")
    stream = select_stream(recording, "EEG")
    assert dict(zip(stream.info.ch_names, stream.info.ch_types, strict=True)) == {
        **dict.fromkeys(("TP9", "AF7", "AF8", "TP10"), "EEG"),
        "AUX_RIGHT": "misc",
    }
    assert any("channel 'AUX_RIGHT' is an auxiliary input by its name" in note for note in recording.notes)


def test_doubled_channel_names_are_told_apart_and_noted(tmp_path: Path) -> None:
    desc = "<channels><channel><name>Cz</name><units>uV</units></channel><channel><name>Cz</name></channel></channels>"
    recording = _open(tmp_path, xdf_file(xdf_header(1, desc=desc), xdf_samples(1, "f", [(1.0, (0, 0))])))
    assert recording.streams[0].info.ch_names == ("Cz", "Cz#2")
    assert recording.streams[0].info.ch_units == ("uV", "")
    assert any("used more than once" in note for note in recording.notes)


def test_a_killed_recorders_file_keeps_the_complete_samples(tmp_path: Path) -> None:
    whole = xdf_file(xdf_header(1), xdf_samples(1, "f", [(float(i), (i, -i)) for i in range(10)]))
    recording = _open(tmp_path, whole[:-20])  # the last sample has 17 bytes: one and a bit are lost
    assert recording.streams[0].timestamps.tolist() == [float(i) for i in range(8)]
    assert recording.streams[0].data[-1].tolist() == [7.0, -7.0]
    assert any("ends in the middle of a chunk" in note for note in recording.notes)
    assert any("no footer" in note for note in recording.notes)


def test_texts_of_a_killed_recorder_keep_the_complete_markers(tmp_path: Path) -> None:
    header = xdf_header(1, name="m", kind="Markers", n_channels=1, sfreq="0", fmt="string")
    whole = xdf_file(header, xdf_texts(1, [(1.0, ["a"]), (2.0, ["b"]), (3.0, ["c"])]))
    assert [marker.label for marker in _open(tmp_path, whole[:-1]).markers] == ["a", "b"]


def test_damage_is_skipped_to_the_next_boundary(tmp_path: Path) -> None:
    content = xdf_file(
        xdf_header(1),
        xdf_samples(1, "f", [(1.0, (1, 1))]),
        b"\x07garbage",
        xdf_chunk(5, BOUNDARY),
        xdf_samples(1, "f", [(2.0, (2, 2))]),
        xdf_footer(1, 2),
    )
    recording = _open(tmp_path, content)
    assert recording.streams[0].timestamps.tolist() == [1.0, 2.0]
    assert any("skipped to the next boundary" in note for note in recording.notes)


def test_a_chunk_that_announces_too_many_samples_is_left_out(tmp_path: Path) -> None:
    good = xdf_samples(1, "f", [(1.0, (1, 1))])
    lie = good.replace(b"\x04\x01\x00\x00\x00", b"\x04\xff\xff\xff\xff")
    recording = _open(tmp_path, xdf_file(xdf_header(1), lie, good))
    assert recording.streams[0].timestamps.tolist() == [1.0]
    assert any("damaged samples" in note for note in recording.notes)


@pytest.mark.parametrize("count", ["0", "-3", "99999999", "many", "70000"])
def test_a_header_that_lies_about_its_channels_leaves_the_stream_out(tmp_path: Path, count: str) -> None:
    lie = xdf_header(1).replace(b"<channel_count>2<", f"<channel_count>{count}<".encode())
    lie = xdf_chunk(2, lie[lie.index(b"\x02\x00") + 2 :])
    with pytest.raises(RecordingError, match=r"channel_count must be in \[1, 65536\]"):
        _open(tmp_path, xdf_file(lie))


def test_xml_that_defines_entities_is_not_parsed(tmp_path: Path) -> None:
    bomb = xdf_chunk(2, b"\x01\x00\x00\x00<!DOCTYPE x [<!ENTITY a 'aaaa'>]><info><name>&a;</name></info>")
    with pytest.raises(RecordingError, match="not well-formed XML"):
        _open(tmp_path, xdf_file(bomb))


def test_samples_in_front_of_their_header_are_left_out_and_noted(tmp_path: Path) -> None:
    sample = xdf_samples(1, "f", [(1.0, (1, 1))])
    recording = _open(tmp_path, xdf_file(sample, xdf_header(1), sample))
    assert recording.streams[0].n_samples == 1
    assert any("no readable header in front" in note for note in recording.notes)


@pytest.mark.parametrize("name", ["small.xdfz", "small.xdf.gz"])
def test_a_compressed_file_reads_the_same(tmp_path: Path, name: str) -> None:
    plain, packed = _open(tmp_path, small_xdf()), _open(tmp_path, gzip.compress(small_xdf()), name)
    np.testing.assert_array_equal(plain.streams[0].data, packed.streams[0].data)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "markers", "first", "n_samples"),
    [
        ("openbci-emg/three_motion_one", 216, ("0", 3472.5082), 77200),
        ("openbci-emg/three_motion_personA", 233, ("0s", 6462.3595), 85690),
        ("openbci-emg/handFour", 8, ("0", 2841.8556), 60),
    ],
)
def test_real_emg_recordings_have_their_markers_on_the_data_clock(
    shared_data: Path, name: str, markers: int, first: tuple[str, float], n_samples: int
) -> None:
    recording = open_recording(shared_data / "xdf" / f"{name}.xdf")
    stream = select_stream(recording)
    found = recording.markers_for(stream)
    assert (stream.n_samples, len(found), stream.info.sfreq, stream.info.type) == (n_samples, markers, 250.0, "EEG")
    assert found[0].label == first[0]
    assert found[0].time == pytest.approx(first[1], abs=1e-3)
    assert stream.timestamps[0] < found[0].time < stream.timestamps[-1]


@pytest.mark.shared
def test_a_real_multistream_file_is_chosen_by_type(shared_data: Path) -> None:
    recording = open_recording(shared_data / "xdf/muse-multistream/sub-P031_ses-S001_task-Default_run-001_eeg.xdf")
    stream = select_stream(recording)
    assert stream is select_stream(recording, "eeg")
    assert stream.info.ch_names == ("TP9", "AF7", "AF8", "TP10", "AUX_RIGHT")
    assert set(stream.info.ch_units) == {"uV"}
    assert stream.data.shape == (1284, 5)
    assert stream.data[0, 0] == float(np.float32(-360.83984))
    assert select_stream(recording, "PPG").info.ch_names == ("LUX", "IR", "RED")
    with pytest.raises(StreamMismatch, match=r"select must name one stream of .*got 'Muse' for 4 of them; it has"):
        select_stream(recording, "Muse")


@pytest.mark.shared
def test_a_selected_stream_without_samples_is_an_error(shared_data: Path) -> None:
    recording = open_recording(shared_data / "xdf/muse-multistream/sub-P001_ses-S001_task-Default_run-001_eeg.xdf")
    with pytest.raises(RecordingError, match="select must be a stream with samples, got 'PPG'"):
        select_stream(recording, "PPG")


@pytest.mark.shared
def test_a_real_file_of_markers_only_has_nothing_to_select(shared_data: Path) -> None:
    recording = open_recording(shared_data / "xdf/openbci-emg/justMarkers.xdf")
    assert len(recording.markers) == 81
    assert (recording.markers[0].label, recording.markers[0].stream) == ("2", "Blinky")
    assert recording.markers[0].time == pytest.approx(510.95693997)
    with pytest.raises(RecordingError, match=r"a data stream that has samples.*it has 81 markers"):
        select_stream(recording)


@pytest.mark.shared
def test_a_real_clock_reset_is_noted_and_its_stamps_stay_raw(shared_data: Path) -> None:
    recording = open_recording(shared_data / "xdf/reference/clock_resets.xdf")
    stream = select_stream(recording)
    assert stream.data.shape == (27815, 8)
    assert stream.timestamps[[0, -1]].tolist() == pytest.approx([653150.379117, 261.926703])
    assert any("clock was reset" in note for note in recording.notes)


@pytest.mark.shared
def test_the_malformed_files_are_read_or_refused_in_one_line(shared_data: Path) -> None:
    folder = shared_data / "xdf/malformed"
    with pytest.raises(RecordingError, match="XDF file without a readable stream") as caught:
        open_recording(folder / "chunk_length_lie.xdf")
    assert "\n" not in str(caught.value)
    # Samples of a known stream in an unusual place are read by the lengths that the chunks declare.
    assert open_recording(folder / "out_of_order_sample_chunk.xdf").streams[0].data.tolist() == [[12336.0] * 3] * 9
    # Here the lengths are wrong too: the stream is there, its samples are not, and selecting it says so.
    with pytest.raises(RecordingError, match="has samples"):
        select_stream(open_recording(folder / "out_of_order_clock_offsets.xdf"))


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    ["muse-multistream/sub-P050_ses-S001_task-Default_run-001_eeg", "openbci-1khz/test", "reference/clock_resets",
     "reference/empty_streams", "reference/minimal", "openbci-emg/handTwo"],
)  # fmt: skip
def test_numbers_and_stamps_equal_those_of_pyxdf_read_raw(
    shared_data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyxdf = pytest.importorskip("pyxdf")
    monkeypatch.setattr(logging.getLogger("pyxdf.pyxdf"), "disabled", True)
    path = shared_data / "xdf" / f"{name}.xdf"
    twins, _ = pyxdf.load_xdf(str(path), synchronize_clocks=False, dejitter_timestamps=False)
    recording = open_recording(path)
    by_key = {(stream.info.name, stream.info.type): stream for stream in recording.streams}
    compared = 0
    for twin in twins:
        stream = by_key.get((twin["info"]["name"][0], twin["info"]["type"][0]))
        if stream is not None:
            np.testing.assert_array_equal(stream.timestamps, twin["time_stamps"])
            np.testing.assert_array_equal(stream.data, twin["time_series"])
            compared += 1
    assert compared == len(recording.streams) > 0
