"""The XDF writer against pyxdf and our own reader: values and stamps exact, whatever ends the file."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyxdf

from neuroloop.sinks.xdf.stream_header import ChannelFormat, XdfStream
from neuroloop.sinks.xdf.writer import BOUNDARY_MARK, XdfWriter
from neuroloop.stream.sources.recordings.xdf import read_xdf

ODD = 'Fz <&> "quoted" \u00b5\U0001f9e0'


def numbers(channel_format: ChannelFormat = "double64", **changes: Any) -> XdfStream:
    fields: dict[str, Any] = {
        "name": ODD, "type": "EEG", "source_id": "amp-1", "sfreq": 512.0, "ch_names": (ODD, "C3"),
        "ch_types": ("EEG", "EEG"), "ch_units": ("uV", "uV"), "hostname": "lab", "manufacturer": "maker",
        "reference": "Cz",
    }  # fmt: skip
    return XdfStream(channel_format=channel_format, **{**fields, **changes})


TEXTS = XdfStream("marks", "Markers", "m-1", 0.0, ("marker",), ("Markers",), ("",), "string")


def load(path: Path) -> dict[str, Any]:
    streams, _ = pyxdf.load_xdf(str(path), synchronize_clocks=False, dejitter_timestamps=False)
    return {stream["info"]["type"][0]: stream for stream in streams}


def block(n_samples: int = 700, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n_samples, 2)) * 1e3
    data[5, 1] = np.nan
    return data, 5e5 + np.arange(n_samples) / 512.0 + rng.uniform(0, 1e-4, n_samples)


@pytest.mark.parametrize("channel_format", ["double64", "float32", "int64"])
def test_pyxdf_and_our_reader_get_every_value_and_every_stamp(tmp_path: Path, channel_format: ChannelFormat) -> None:
    data, stamps = block()
    if channel_format == "int64":
        data = np.arange(1400).reshape(700, 2) * 2**40
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number = writer.add_stream(numbers(channel_format))
        for begin in range(0, 700, 130):
            writer.write_samples(number, data[begin : begin + 130], stamps[begin : begin + 130])
    expected = data.astype({"double64": "f8", "float32": "f4", "int64": "i8"}[channel_format])
    stream = load(tmp_path / "a.xdf")["EEG"]
    np.testing.assert_array_equal(stream["time_series"], expected)
    np.testing.assert_array_equal(stream["time_stamps"], stamps)
    own = read_xdf(tmp_path / "a.xdf").streams[0]
    np.testing.assert_array_equal(own.data, expected.astype(np.float64))
    np.testing.assert_array_equal(own.timestamps, stamps)


def test_the_header_and_footer_say_everything(tmp_path: Path) -> None:
    data, stamps = block()
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number = writer.add_stream(numbers())
        writer.write_samples(number, data, stamps)
        writer.write_clock_offset(number, 7.5, -0.25)
        writer.write_clock_offset(number, 12.5, -0.125)
    stream = load(tmp_path / "a.xdf")["EEG"]
    info = stream["info"]
    assert (info["name"], info["source_id"], info["nominal_srate"]) == ([ODD], ["amp-1"], ["512.0"])
    desc = info["desc"][0]
    assert desc["manufacturer"] == ["maker"]
    assert desc["reference"][0]["label"] == ["Cz"]
    assert [c["label"][0] for c in desc["channels"][0]["channel"]] == [ODD, "C3"]
    assert [c["unit"][0] for c in desc["channels"][0]["channel"]] == ["uV", "uV"]
    footer = stream["footer"]["info"]
    assert footer["sample_count"] == ["700"]
    assert float(footer["first_timestamp"][0]) == stamps[0]
    assert float(footer["last_timestamp"][0]) == stamps[-1]
    assert float(footer["measured_srate"][0]) == 699 / (stamps[-1] - stamps[0])
    assert stream["clock_times"] == [7.5, 12.5]
    assert stream["clock_values"] == [-0.25, -0.125]
    own = read_xdf(tmp_path / "a.xdf")
    assert own.notes == ()
    assert own.streams[0].clock_offset_s == -0.1875


def test_texts_of_any_length_and_alphabet_arrive(tmp_path: Path) -> None:
    texts = ["", ODD, "x" * 300, "line\nbreak", "\u4e2d" * 70000]
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number = writer.add_stream(TEXTS)
        writer.write_texts(number, texts[:2], [1.5, 2.5])
        writer.write_texts(number, texts[2:], [3.0, 3.0, 0.1])
    stream = load(tmp_path / "a.xdf")["Markers"]
    assert [row[0] for row in stream["time_series"]] == texts
    assert stream["time_stamps"].tolist() == [1.5, 2.5, 3.0, 3.0, 0.1]
    markers = read_xdf(tmp_path / "a.xdf").marker_streams[0].markers
    assert sorted((m.time, m.label) for m in markers) == sorted(zip([1.5, 2.5, 3.0, 3.0, 0.1], texts, strict=True))


def test_characters_that_xml_forbids_do_not_break_the_header(tmp_path: Path) -> None:
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number = writer.add_stream(numbers(name="a\x00b\x1f\ud800c", ch_names=("\x07", "ok")))
        writer.write_samples(number, np.ones((1, 2)), np.ones(1))
    assert load(tmp_path / "a.xdf")["EEG"]["info"]["name"] == ["a b  c"]
    assert read_xdf(tmp_path / "a.xdf").streams[0].info.name == "a b  c"


def test_a_stream_may_begin_late_and_an_empty_one_stays_readable(tmp_path: Path) -> None:
    with XdfWriter(tmp_path / "a.xdf") as writer:
        first = writer.add_stream(numbers(type="EEG"))
        writer.write_samples(first, np.ones((3, 2)), np.arange(3.0))
        second = writer.add_stream(numbers(type="EMG"))
        writer.write_samples(second, np.zeros((2, 2)), np.arange(2.0))
        writer.add_stream(TEXTS)
        writer.write_samples(second, np.empty((0, 2)), np.empty(0))
    streams = load(tmp_path / "a.xdf")
    assert [len(streams[kind]["time_stamps"]) for kind in ("EEG", "EMG", "Markers")] == [3, 2, 0]


@pytest.mark.parametrize("n_cut", [1, 7, 400, 1000])
def test_a_file_cut_anywhere_loads_up_to_the_last_whole_chunk(tmp_path: Path, n_cut: int) -> None:
    data, stamps = block()
    path = tmp_path / "a.xdf"
    writer = XdfWriter(path)
    number = writer.add_stream(numbers())
    for begin in range(0, 700, 50):
        writer.write_samples(number, data[begin : begin + 50], stamps[begin : begin + 50])
    path.write_bytes(path.read_bytes()[:-n_cut])  # as a crash leaves it: no footer, half a chunk
    np.testing.assert_array_equal(load(path)["EEG"]["time_series"][:650], data[:650])
    recording = read_xdf(path)
    kept = recording.streams[0].n_samples
    assert 650 <= kept < 700
    np.testing.assert_array_equal(recording.streams[0].data, data[:kept])
    np.testing.assert_array_equal(recording.streams[0].timestamps, stamps[:kept])
    assert any("no footer" in note for note in recording.notes)
    writer.close()


def test_what_was_written_can_be_read_while_the_file_is_open(tmp_path: Path) -> None:
    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.add_stream(numbers())
    writer.write_samples(number, np.ones((4, 2)), np.arange(4.0))
    assert read_xdf(tmp_path / "a.xdf").streams[0].n_samples == 4
    assert writer.n_bytes == (tmp_path / "a.xdf").stat().st_size
    writer.close()


def test_boundaries_come_every_ten_seconds_and_fsync_on_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, synced = [0.0], []
    monkeypatch.setattr("neuroloop.sinks.xdf.writer.os.fsync", lambda fd: synced.append(now[0]))
    writer = XdfWriter(tmp_path / "a.xdf", fsync_s=3.0, clock=lambda: now[0])
    for second in range(26):
        now[0] = float(second)
        writer.tick()
    assert synced == [3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0]
    assert (tmp_path / "a.xdf").read_bytes().count(BOUNDARY_MARK) == 2
    writer.close()


def test_a_disk_that_takes_only_half_a_chunk_leaves_none_of_it(tmp_path: Path) -> None:
    data, stamps = block()
    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.add_stream(numbers())
    writer.write_samples(number, data[:100], stamps[:100])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.n_bytes + 1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write_samples(number, data[100:], stamps[100:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.write_samples(number, data[600:], stamps[600:])
    writer.close()
    recording = read_xdf(tmp_path / "a.xdf")
    assert recording.notes == ()
    np.testing.assert_array_equal(recording.streams[0].data, np.concatenate((data[:100], data[600:])))


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.xdf").write_text("precious")
    with pytest.raises(FileExistsError):
        XdfWriter(tmp_path / "a.xdf")
    assert (tmp_path / "a.xdf").read_text() == "precious"


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number, texts = writer.add_stream(numbers()), writer.add_stream(TEXTS)
        with pytest.raises(ValueError, match=r"data must have shape \(3, 2\), got \(2, 2\)"):
            writer.write_samples(number, np.ones((2, 2)), np.arange(3.0))
        with pytest.raises(ValueError, match="stream must be one of numbers, got 'marks' of string"):
            writer.write_samples(texts, np.ones((2, 1)), np.arange(2.0))
        with pytest.raises(ValueError, match="stream must be one of texts"):
            writer.write_texts(number, ["a"], [1.0])
        with pytest.raises(ValueError, match=r"timestamps must have one entry per text \(1\), got 2"):
            writer.write_texts(texts, ["a"], [1.0, 2.0])
    with pytest.raises(ValueError, match="fsync_s must be above 0, got 0"):
        XdfWriter(tmp_path / "b.xdf", fsync_s=0)
    with pytest.raises(ValueError, match="ch_names must have at least one entry"):
        numbers(ch_names=(), ch_types=(), ch_units=())
    with pytest.raises(ValueError, match=r"ch_units must have one entry per channel \(2\), got 1"):
        numbers(ch_units=("uV",))


def test_mne_takes_the_signals_over_pyxdf(tmp_path: Path) -> None:
    import mne

    data, stamps = block()
    with XdfWriter(tmp_path / "a.xdf") as writer:
        number = writer.add_stream(numbers(ch_names=("C3", "C4")))
        writer.write_samples(number, data, stamps)
    stream = load(tmp_path / "a.xdf")["EEG"]
    names = [channel["label"][0] for channel in stream["info"]["desc"][0]["channels"][0]["channel"]]
    raw = mne.io.RawArray(
        stream["time_series"].T * 1e-6,
        mne.create_info(names, float(stream["info"]["nominal_srate"][0]), "eeg"),
        verbose="error",
    )
    np.testing.assert_array_equal(raw.get_data(), data.T * 1e-6)
