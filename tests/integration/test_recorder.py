"""A recorded run, replayed, decides the same, whatever was killed, stalled or full while it ran."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pyxdf

from neuroloop.sinks.xdf.stream_header import XdfStream
from neuroloop.sinks.xdf.writer import XdfWriter
from neuroloop.stream.cli.main import main
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, select_stream
from tests.integration import lsl
from tests.integration.live import (
    FAST,
    PATIENCE_S,
    SHARING,
    Program,
    Start,
    canonical_lines,
    end_all,
    summary_of,
    wait_for_lines,
)
from tests.integration.playing import Play
from tests.integration.playing import recorded as played

pytestmark = pytest.mark.usefixtures("lsl_session")
DEMO = ("run", "demo", "--record", *SHARING, "--set", "source.simulator.block_s=2")


def replay(run: Path, *options: str) -> Path:
    """Replay a run by its own configuration; return the folder."""
    out = run.parent / f"{run.name}-again"
    assert main(["replay", str(run), "--out", str(out), *options]) == 0
    return out


def assert_replays(run: Path, *options: str) -> list[str]:
    """The replay of a run has the run's canonical lines; return them."""
    lines = canonical_lines(run)
    assert canonical_lines(replay(run, *options)) == lines
    return lines


def recorder_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = summary_of(run)["recorder"]
    return record


def rows_of(path: Path) -> dict[tuple[str, str], int]:
    """Number of samples by name and type of the stream, read by pyxdf."""
    streams, _ = pyxdf.load_xdf(str(path), synchronize_clocks=False, dejitter_timestamps=False)
    return {(s["info"]["name"][0], s["info"]["type"][0]): len(s["time_stamps"]) for s in streams}


def kill_and_wait_for_another(program: Program, name: str) -> None:
    old = program.child(name)
    old.kill()
    lsl.wait_until(lambda: program.child(name).pid != old.pid, f"another {name} process", PATIENCE_S)


def test_a_run_whose_recorder_and_cold_process_are_killed_replays_as_it_was(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    taps = ("--set", "recorder.taps=[bandpower, classifier]", "--set", "recorder.rotate_s=2")
    program = start(*DEMO, *taps, "--out", run)
    wait_for_lines(run, 8)
    kill_and_wait_for_another(program, "recorder")
    kill_and_wait_for_another(program, "cold")
    wait_for_lines(run, 30)
    program.popen.send_signal(signal.SIGINT)
    program.ends_well()
    assert len(list(run.glob("signals*.xdf"))) >= 3
    assert not list(run.glob("*.reserve"))
    assert recorder_of(run)["lost"] == 0
    assert recorder_of(run)["written"] == summary_of(run)["samples"]["in"]
    lines = assert_replays(run, "--chunk", "random:3")
    assert {json.loads(line)["type"] for line in lines} >= {"prediction", "state", "marker"}
    tap = select_stream(open_recording(run), "demo-classifier")
    predictions = [json.loads(line) for line in lines if '"type":"prediction"' in line]
    assert tap.data.tolist() == [one["probabilities"] for one in predictions]
    assert tap.sample_numbers is not None
    np.testing.assert_array_equal(np.diff(tap.sample_numbers), 1)


def test_a_killed_hot_process_leaves_all_that_it_processed(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = start(*DEMO, "--out", run)
    wait_for_lines(run, 12)
    program.child("hot").kill()
    assert program.fails().splitlines()[-1] == (
        "neuroloop run: the hot process must stay alive, got its death with exit code -9; the run is cut off"
    )
    summary = summary_of(run)
    assert summary["ended"] == "the hot process died"
    lines = canonical_lines(run)
    assert summary["events"]["prediction"] == sum('"type":"prediction"' in line for line in lines) > 0
    samples = [json.loads(line)["sample"] for line in lines]
    assert samples == sorted(samples)
    again = canonical_lines(replay(run))
    assert again[: len(lines)] == lines  # it may have died between keeping rows and deciding about them
    assert rows_of(run / "signals.xdf")["simulator", "EEG"] == recorder_of(run)["written"]


def test_a_killed_supervisor_leaves_no_process_a_finished_run_and_a_whole_file(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = start(*DEMO, "--out", run)
    wait_for_lines(run, 12)
    family = program.family()
    assert {process.name() for process in family} >= {"neuroloop-hot", "neuroloop-cold", "neuroloop-recor"}
    program.popen.kill()
    end_all(family)
    assert summary_of(run)["ended"] == "finished"
    assert not list(Path("/dev/shm").glob("*neuroloop*"))
    recording = open_recording(run)
    assert not any("no footer" in note for note in recording.notes)
    lines = canonical_lines(run)
    assert canonical_lines(replay(run))[: len(lines)] == lines


def wait_until_stalled(process: psutil.Process, seconds: float) -> None:
    """Let the sender go on for a while without this process."""
    end = time.perf_counter() + seconds
    lsl.wait_until(lambda: process.status() == psutil.STATUS_STOPPED and time.perf_counter() > end, "stalled")


def test_a_stalled_run_says_what_it_left_out_and_replays_so(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    late = ("--set", "source.staleness=skip_to_newest", "--set", "source.max_backlog_s=0.3")
    program = start(*DEMO, "--out", run, *late)
    wait_for_lines(run, 12)
    hot = program.child("hot")
    hot.suspend()
    wait_until_stalled(hot, 1.5)
    hot.resume()
    lsl.wait_until(lambda: '"type":"skip"' in (run / "events.jsonl").read_text(), "a skip event", PATIENCE_S)
    program.popen.send_signal(signal.SIGINT)
    program.ends_well()
    skips = [json.loads(line) for line in assert_replays(run) if '"type":"skip"' in line]
    n_skipped = sum(one["n"] for one in skips)
    assert n_skipped > 100
    assert summary_of(run)["samples"]["counted"]["skipped"] == n_skipped
    assert summary_of(run.parent / "run-again")["samples"]["counted"]["skipped"] == n_skipped


def play_and_record(start: Start, play: Play, run: Path, what: Path, config: Path, **sender: Any) -> None:
    """Send a recording to a recorded run, which ends with it."""
    name = f"{run.parent.name}-{run.name}"
    player = play(played(what), name=name, **sender)
    live = start(
        "run", config, "--record", "--out", run, *SHARING, *FAST, "--set", f"source.name={name}",
        "--set", "markers.enabled=true",
    )  # fmt: skip
    live.ends_well()
    player.ends_well()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\nstages:\n  - kind: filter\n    name: filter\n    designs:\n"
        "      - {kind: bandpass, low_hz: 1, high_hz: 30, order: 4}\n"
        "  - kind: bandpower\n    name: bandpower\n    window_s: 0.5\n    hop_s: 0.1\n    bands: {low: [4, 13]}\n",
        encoding="utf-8",
    )
    return path


def holed_recording(path: Path) -> Path:
    """An XDF with lost samples, a step back of the clock, values that are none, and two senders of markers."""
    rng = np.random.default_rng(21)
    cells = np.arange(3000)
    cells[700:] += 40
    cells[1500:] += 900
    stamps = 1e5 + cells / 250.0
    stamps[2200:] -= 3.0
    data = rng.standard_normal((3000, 3)) * 20
    data[300:310, 1] = np.nan
    data[2500, 0] = np.inf
    header = XdfStream("holes", "EEG", "h-1", 250.0, ("C3", "Cz", "C4"), ("EEG",) * 3, ("uV",) * 3, "double64")
    with XdfWriter(path) as writer:
        number = writer.add_stream(header)
        writer.write_samples(number, data, stamps)
        for name, times in (("keys", [0.001, 2.5, 2.5, 8.0]), ("light", [2.5, 2.503, 9.99, 1e4])):
            marks = writer.add_stream(XdfStream(name, "Markers", name, 0.0, ("m",), ("Markers",), ("",), "string"))
            writer.write_texts(marks, [f"{name} {time}" for time in times], [1e5 + time for time in times])
    return path


def test_gaps_odd_values_and_markers_of_two_senders_replay_as_they_were(
    start: Start, play: Play, tmp_path: Path, config: Path
) -> None:
    what, run = holed_recording(tmp_path / "holes.xdf"), tmp_path / "run"
    play_and_record(start, play, run, what, config, speed=6.0, chunk_samples=5)
    lines = assert_replays(run)
    events = [json.loads(line) for line in lines]
    assert {one["type"] for one in events} >= {"stream", "gap", "marker"}
    assert {one["marker_stream"] for one in events if one["type"] == "marker"} == {"keys", "light"}
    original = select_stream(open_recording(what))
    again = select_stream(open_recording(run))
    assert again.info == original.info
    np.testing.assert_array_equal(again.data, original.data)
    np.testing.assert_array_equal(again.timestamps, original.timestamps)


def test_the_senders_own_sample_numbers_are_recorded(start: Start, play: Play, tmp_path: Path, config: Path) -> None:
    original = select_stream(open_recording(holed_recording(tmp_path / "holes.xdf")))
    numbers = np.arange(3000) + np.where(np.arange(3000) > 900, 77, 0)
    counted = dataclasses.replace(original, sample_numbers=numbers)
    run = tmp_path / "run"
    play_and_record(start, play, run, write_counted(tmp_path / "counted.xdf", counted), config, speed=None)
    lines = assert_replays(run)
    again = select_stream(open_recording(run))
    np.testing.assert_array_equal(again.sample_numbers, numbers)
    np.testing.assert_array_equal(again.data, original.data)
    gaps = [json.loads(line) for line in lines if '"type":"gap"' in line]
    assert [(one["first_missing"], one["missing"]) for one in gaps] == [(901, 77)]


def write_counted(path: Path, stream: RecordedStream) -> Path:
    """Write a recording that counts its samples in a channel, as our player's streams do."""
    own = {"counter": "channel", "stamps": "recording", "info": json.dumps(dataclasses.asdict(stream.info))}
    header = XdfStream(
        "holes", "EEG", "h-1", 250.0, (*stream.info.ch_names, "sample_number"), ("EEG",) * 4, ("uV",) * 4,
        "double64", own=own,
    )  # fmt: skip
    with XdfWriter(path) as writer:
        number = writer.add_stream(header)
        assert stream.sample_numbers is not None
        writer.write_samples(number, np.column_stack((stream.data, stream.sample_numbers)), stream.timestamps)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; skips where the test may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class WideRun:
    """A stream of 64 channels, 9000 samples in 3 s, and its recorded run."""

    def __init__(self, start: Start, play: Play, tmp_path: Path, run: Path) -> None:
        config, name, names = tmp_path / "raw.yaml", f"{tmp_path.name}-wide", tuple(f"ch{i}" for i in range(64))
        config.write_text("name: raw\n", encoding="utf-8")
        data = np.random.default_rng(2).standard_normal((9000, 64))
        data[:, 0] = np.arange(9000)
        header = XdfStream("wide", "EEG", "w-1", 1000.0, names, ("EEG",) * 64, ("uV",) * 64, "double64")
        with XdfWriter(tmp_path / "wide.xdf") as writer:
            writer.write_samples(writer.add_stream(header), data, np.arange(9000) / 1000.0)
        self.run = run
        self.player = play(played(tmp_path / "wide.xdf"), name=name, chunk_samples=10, speed=3.0)
        self.live = start("run", config, "--record", "--out", run, *SHARING, *FAST, "--set", f"source.name={name}")

    def fails(self) -> tuple[str, dict[str, Any]]:
        """Wait for the end; return what was said and the recorder's books."""
        said = self.live.fails()
        self.player.ends_well()
        assert summary_of(self.run)["samples"]["in"] == 9000  # the run itself went on to the end
        books = recorder_of(self.run)
        assert books["written"] + books["lost"] == 9000
        assert books["lost"] > 0
        assert f"got {books['lost']} samples of 9000 not recorded ({books['reason']})" in said
        return said, books


def test_a_full_disk_ends_the_recording_not_the_run(start: Start, play: Play, tmp_path: Path, small_disk: Path) -> None:
    said, books = WideRun(start, play, tmp_path, small_disk).fails()
    assert said.count("recording stopped (No space left on device)") == 1
    assert books["reason"] == "No space left on device"
    recorded = select_stream(open_recording(small_disk))
    np.testing.assert_array_equal(recorded.data[:, 0], np.arange(books["written"]))


def test_a_file_that_may_not_grow_costs_samples_and_the_exit_status(start: Start, play: Play, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wide = WideRun(start, play, tmp_path, run)
    path, limit = run / "signals.xdf", 500_000
    wide.live.child("recorder").rlimit(psutil.RLIMIT_FSIZE, (limit, limit))  # before there is a sample
    said, books = wide.fails()
    assert "recording stopped (File too large)" in said
    assert path.stat().st_size <= limit
    recorded = select_stream(open_recording(run))
    assert recorded.n_samples == books["written"]
    n_first = select_stream(open_recording(path)).n_samples
    np.testing.assert_array_equal(recorded.data[:n_first, 0], np.arange(n_first))


def test_a_recorded_run_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "monitor", "--record"]) != 0
    assert "out must be given for a run that is recorded" in capsys.readouterr().err


def test_a_recording_that_is_no_run_needs_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(holed_recording(tmp_path / "a.xdf")), "--out", str(tmp_path / "out")]) != 0
    assert "config must be given for a recording that is no run folder" in capsys.readouterr().err
