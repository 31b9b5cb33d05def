"""The recorder's files: rotation, a second start, a disk that fails, and the run they make together."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyxdf

from neuroloop.config.live import RecorderSettings
from neuroloop.sinks.xdf import recorder as recorder_module
from neuroloop.sinks.xdf.recorder import ReceivedMarker, RecordedRun, Recorder
from neuroloop.sinks.xdf.writer import XdfWriter
from neuroloop.stream.contracts.chunks import StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event, Marker, encode
from neuroloop.stream.engine.staleness import Skip
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import Recording, select_stream
from neuroloop.stream.sources.recordings.run_script import Arrival

INFO = StreamInfo(" amp \x01", "EMG", "amp-1", 100.0, ("a ", "<b>"), ("EMG", "EMG"), ("uV", ""))
TAP = StreamInfo(" amp \x01", "EMG", "amp-1", 20.0, ("power",), ("EMG",), ("uV^2",))
RUN = RecordedRun("pipe", INFO, True, {"power": TAP}, host="lab")
SETTINGS = RecorderSettings(enabled=True)


def rows(first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.arange(first, first + n)
    data = np.random.default_rng(first).standard_normal((n, 3))
    data[:, 0] = numbers
    data[:, 2] = 10_000 + 2 * numbers
    return data, 50.0 + numbers / 100.0


def record(recorder: Recorder, first: int, n: int, block: int = 10) -> None:
    for begin in range(first, first + n, block):
        recorder.add_rows(*rows(begin, block), begin)


def read(folder: Path) -> Recording:
    return open_recording(folder)


def assert_whole(folder: Path, n: int) -> Recording:
    recording = read(folder)
    stream = select_stream(recording)
    assert stream.info == INFO
    np.testing.assert_array_equal(stream.data[:, 0], np.arange(n))
    np.testing.assert_array_equal(stream.timestamps, 50.0 + np.arange(n) / 100.0)
    np.testing.assert_array_equal(stream.sample_numbers, 10_000 + 2 * np.arange(n))
    return recording


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("signals*"))


def test_what_was_recorded_comes_back_with_the_exact_description(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RUN, SETTINGS)
    record(recorder, 0, 50)
    chunk = make_chunk(np.arange(3.0)[:, None], 50 + np.arange(3.0), 7, np.array([True, False, True]), TAP)
    recorder.add_tap_rows("power", chunk)
    recorder.close()
    recording = assert_whole(tmp_path, 50)
    assert recording.notes == ()
    tap = select_stream(recording, "pipe-power")
    assert tap.info.ch_names == ("power",)
    np.testing.assert_array_equal(tap.data, chunk.data)
    np.testing.assert_array_equal(tap.sample_numbers, [7, 8, 9])
    np.testing.assert_array_equal(tap.valid, chunk.valid)
    assert parts(tmp_path) == ["signals.xdf"]


def test_rows_of_a_tap_keep_their_stamps_over_a_gap_with_the_defaults_of_pyxdf(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RUN, SETTINGS)
    record(recorder, 0, 10)
    stamps = 50.0 + np.array([*range(100), *range(140, 240)]) / 20.0  # two seconds are missing
    numbers = np.ones(100, np.bool_)
    for first, begin in ((0, 0), (140, 100)):
        data = np.arange(begin, begin + 100.0)[:, None]
        recorder.add_tap_rows("power", make_chunk(data, stamps[begin : begin + 100].copy(), first, numbers, TAP))
    recorder.close()
    streams, _ = pyxdf.load_xdf(str(tmp_path / "signals.xdf"))
    tap = next(one for one in streams if one["info"]["name"] == ["pipe-power"])
    np.testing.assert_array_equal(tap["time_stamps"], stamps)
    assert select_stream(read(tmp_path), "pipe-power").info.sfreq == 20.0


def test_a_tap_that_declares_its_rate_as_earlier_versions_wrote_it_is_read_alike(tmp_path: Path) -> None:
    for name in ("now", "before"):
        (tmp_path / name).mkdir()
        recorder = Recorder(tmp_path / name, RUN, SETTINGS)
        described = recorder._tap_stream("power", TAP)
        with XdfWriter(tmp_path / name / "signals.xdf") as writer:
            number = writer.add_stream(described if name == "now" else replace(described, sfreq=20.0))
            writer.write_samples(number, np.ones((5, 3)), 50 + np.arange(5.0))
    now, before = (select_stream(read(tmp_path / name), "pipe-power") for name in ("now", "before"))
    assert now.info == before.info
    assert now.info.sfreq == 20.0
    np.testing.assert_array_equal(now.data, before.data)


@pytest.mark.parametrize("limits", [{"rotate_s": 0.3}, {"rotate_mb": 0.006}])
def test_a_long_run_becomes_several_whole_files_that_read_as_one(tmp_path: Path, limits: dict[str, float]) -> None:
    recorder = Recorder(tmp_path, RUN, RecorderSettings(enabled=True, **limits))
    record(recorder, 0, 200)
    recorder.close()
    assert len(parts(tmp_path)) > 2
    assert "signals-0002.xdf" in parts(tmp_path)
    assert assert_whole(tmp_path, 200).notes == ()
    second = open_recording(tmp_path / "signals-0002.xdf")
    assert select_stream(second).info == INFO


def test_a_recorder_started_anew_goes_on_and_rows_written_twice_count_once(tmp_path: Path) -> None:
    killed = Recorder(tmp_path, RUN, SETTINGS)
    record(killed, 0, 60)
    killed.add_markers([ReceivedMarker(0, 5, 50.04, "a", "m"), ReceivedMarker(1, 20, 50.3, "b", "n")])
    path = tmp_path / "signals.xdf"
    path.write_bytes(path.read_bytes()[:-5])  # killed in the middle of a chunk
    again = Recorder(tmp_path, RUN, SETTINGS, next_row=30)
    record(again, 30, 70)
    again.add_markers([ReceivedMarker(0, 5, 50.04, "a", "m"), ReceivedMarker(1, 20, 50.3, "b", "n")])
    again.close()
    recording = assert_whole(tmp_path, 100)
    assert recording.script is not None
    assert recording.script.arrivals == (Arrival(0, 5, Marker(50.04, "a", "m")), Arrival(1, 20, Marker(50.3, "b", "n")))
    assert [marker.label for marker in recording.markers] == ["a", "b"]
    killed.close()


def test_rows_that_the_recorder_missed_are_counted_and_said(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RUN, SETTINGS)
    record(recorder, 0, 20)
    record(recorder, 50, 20)
    recorder.close()
    assert recorder.n_lost["samples"] == 30
    recording = read(tmp_path)
    np.testing.assert_array_equal(select_stream(recording).data[:, 0], [*range(20), *range(50, 70)])
    assert any("30 samples of the run are not in the recording" in note for note in recording.notes)


def test_markers_and_decisions_come_back_in_the_order_of_arrival(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RUN, SETTINGS)
    record(recorder, 0, 40)
    received = [
        ReceivedMarker(0, 0, 51.0, "late clock", "keys"),
        ReceivedMarker(1, 12, 50.1, " spaces ", " tone\x02"),
        ReceivedMarker(2, 12, 50.1, "", "keys"),
    ]
    recorder.add_markers(received[:1])
    recorder.add_markers(received[1:])
    values = {"policy": "refuse", "n": 9, "first_arrival": 11, "first_skipped": 12}
    events = [
        Event("skip", INFO.name, 21, 0, 50.2, 0.0, values),
        Event("stream", INFO.name, 25, 1, 50.25, 0.0, {"what": "lost"}, 99),
        Event("stream", INFO.name, 0, 0, 50.0, 0.0, {"what": "start"}),
    ]
    recorder.add_events([encode(event.identity()) for event in events], [event.time for event in events])
    recorder.close()
    script = assert_whole(tmp_path, 40).script
    assert script is not None
    assert [(a.n_before, a.marker) for a in script.arrivals] == [
        (one.n_before, Marker(one.time, one.label, one.stream)) for one in received
    ]
    assert script.skips == (Skip(11, 9, "refuse"),)
    assert script.told == (events[1],)
    assert {marker.stream for marker in read(tmp_path).markers} == {"keys", " tone\x02"}


def test_clock_offsets_leave_the_markers_where_they_are(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RUN, SETTINGS)
    record(recorder, 0, 20)
    recorder.add_clock_offset(100.0, 0.5)
    recorder.add_markers([ReceivedMarker(0, 20, 50.05, "x", "keys")])
    recorder.add_clock_offset(105.0, 1.5)
    recorder.close()
    recording = read(tmp_path)
    stream = select_stream(recording)
    assert stream.clock_offset_s == 1.0
    assert recording.markers_for(stream) == (Marker(50.05, "x", "keys"),)


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_nothing_costs_rows_not_the_run(tmp_path: Path) -> None:
    now = [0.0]
    recorder = Recorder(tmp_path, RUN, SETTINGS, clock=lambda: now[0])
    record(recorder, 0, 100)
    with file_size_limit((tmp_path / "signals.xdf").stat().st_size + 100):
        record(recorder, 100, 100)
        recorder.add_events(["{}"], [1.0])
        assert recorder.n_lost == {"samples": 100, "events": 1}
        assert recorder.error is not None
        assert recorder.error.errno == errno.EFBIG
    record(recorder, 200, 10)
    assert recorder.n_lost["samples"] == 110  # it is not asked again at once
    now[0] = 5.0
    record(recorder, 210, 40)
    recorder.close()
    assert recorder.n_lost["samples"] == 110
    np.testing.assert_array_equal(select_stream(read(tmp_path)).data[:, 0], [*range(100), *range(210, 250)])


def test_a_full_disk_is_left_alone_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, is_full = [0.0], [False]
    whole_write = os.write

    def write(descriptor: int, data: Any) -> int:
        if is_full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole_write(descriptor, data)

    class Status:
        f_bavail, f_frsize = 1, 4096

    recorder = Recorder(tmp_path, RUN, SETTINGS, clock=lambda: now[0])
    record(recorder, 0, 20)
    assert (tmp_path / "signals.reserve").stat().st_size == recorder_module.RESERVE_BYTES
    monkeypatch.setattr("neuroloop.sinks.xdf.writer.os.write", write)
    is_full[0] = True
    record(recorder, 20, 20)
    assert not (tmp_path / "signals.reserve").exists()
    is_full[0] = False
    monkeypatch.setattr("neuroloop.sinks.xdf.recorder.os.statvfs", lambda path: Status)
    now[0] = 6.0
    record(recorder, 40, 20)
    assert parts(tmp_path) == ["signals.xdf"]
    monkeypatch.undo()
    now[0] = 12.0
    record(recorder, 60, 20)
    recorder.close()
    assert recorder.n_lost["samples"] == 40
    np.testing.assert_array_equal(select_stream(read(tmp_path)).data[:, 0], [*range(20), *range(60, 80)])


def test_a_file_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    now = [0.0]
    recorder = Recorder(tmp_path, RUN, SETTINGS, clock=lambda: now[0])
    record(recorder, 0, 20)
    (tmp_path / "signals.xdf").unlink()
    recorder.tick()
    assert recorder.error is not None
    record(recorder, 20, 20)
    assert recorder.n_lost["samples"] == 20
    recorder.close()


def test_float32_is_used_where_nothing_is_counted(tmp_path: Path) -> None:
    settings = RecorderSettings(enabled=True, format="float32")
    plain = RecordedRun("pipe", INFO, False, {})
    for name, run, width in (("plain", plain, 2), ("counted", RUN, 3)):
        (tmp_path / name).mkdir()
        recorder = Recorder(tmp_path / name, run, settings)
        recorder.add_rows(rows(0, 10)[0][:, :width], rows(0, 10)[1], 0)
        recorder.close()
    data = select_stream(read(tmp_path / "plain")).data
    np.testing.assert_array_equal(data, rows(0, 10)[0][:, :2].astype(np.float32))
    np.testing.assert_array_equal(select_stream(read(tmp_path / "counted")).data, rows(0, 10)[0][:, :2])


def test_a_run_without_samples_leaves_a_readable_file(tmp_path: Path) -> None:
    Recorder(tmp_path, RUN, SETTINGS).close()
    assert parts(tmp_path) == ["signals.xdf"]
    assert [stream.n_samples for stream in read(tmp_path).streams] == [0, 0]


def test_a_stream_of_our_player_recorded_by_others_gets_its_numbers_back(tmp_path: Path) -> None:
    from neuroloop.sinks.xdf.stream_header import XdfStream

    own = {"counter": "channel", "stamps": "recording", "info": '{"name": 1}'}
    header = XdfStream(
        "x", "EEG", "p", 100.0, ("a", "sample_number"), ("EEG", "counter"), ("uV", ""), "double64", own=own
    )
    with XdfWriter(tmp_path / "lab.xdf") as writer:
        number = writer.add_stream(header)
        tiny = float(np.finfo(np.float64).tiny)
        writer.write_samples(number, np.array([[1.0, 5.0], [2.0, 8.0]]), np.array([tiny, 0.01]))
    stream = open_recording(tmp_path / "lab.xdf").streams[0]
    assert stream.info.ch_names == ("a",)
    np.testing.assert_array_equal(stream.sample_numbers, [5, 8])
    np.testing.assert_array_equal(stream.timestamps, [0.0, 0.01])
