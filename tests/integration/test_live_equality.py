"""What a live run decides is what a replay of the same samples decides, byte for byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from config.bundle import BundleInput
from config.loading import load_config
from config.source import SimulatorSettings
from config.stages import BandPowerSettings
from models.bundle import save_bundle
from stream.cli.main import main
from stream.contracts.chunks import StreamInfo
from stream.replay import Replay
from stream.sources.recordings.opening import open_recording
from stream.sources.recordings.recording import RecordedStream, select_stream
from stream.sources.simulator import Simulator
from tests.integration.live import FINDING, SHARING, Program, Start, canonical_lines, summary_of, wait_for_lines
from tests.models.naive import make_bundle, make_network
from tests.stream.cli.conftest import write_npz
from tests.stream.simulated import simulated

pytestmark = pytest.mark.usefixtures("lsl_session")


def bundle_for(info: StreamInfo, folder: Path) -> Path:
    """Write an untrained bundle that takes this stream: band powers, a small LSTM that changes its mind."""
    bands = {"low": (4.0, 13.0), "high": (13.0, 40.0)}
    stage = BandPowerSettings(kind="bandpower", window_s=0.5, hop_s=0.1, bands=bands, log=True)
    network = make_network(2 * info.n_channels, [(6, False)])
    bundle = make_bundle(network, window_samples=8, hop_samples=2, seed=5)
    settings = bundle.settings.model_copy(
        update={
            "input": BundleInput(sfreq=info.sfreq, ch_names=info.ch_names, ch_units=info.ch_units),
            "stages": (stage,),
        }
    )
    save_bundle(folder, settings, bundle.arrays, "# Untrained\n")
    return folder


def write_config(bundle: Path, path: Path) -> Path:
    path.write_text(f"name: {path.stem}\nclassifier:\n  bundle: {bundle}\n", encoding="utf-8")
    return path


@dataclasses.dataclass
class Pair:
    """A recording that is sent, and the run that takes it."""

    run: Path
    player: Program
    live: Program

    def ends_well(self) -> Path:
        self.live.ends_well()
        self.player.ends_well()
        summary = summary_of(self.run)
        assert summary["ended"] == "finished"
        assert summary["rings"] == {"samples_lost": 0, "events_lost": 0}
        assert summary["events_unwritten"] == 0
        return self.run


def play_and_run(start: Start, run: Path, what: object, config: object, *sender: object) -> Pair:
    """Send a recording to a run of its own."""
    name = f"{run.parent.name}-{run.name}"
    player = start("play", what, "--wait", "--name", name, *sender)
    live = start(
        "run", config, "--out", run, *SHARING, *FINDING, "--set", "source.kind=lsl", "--set", f"source.name={name}",
        "--set", f"markers.names=[{name}-markers]",
    )  # fmt: skip
    return Pair(run, player, live)


def assert_equal(run: Path, replayed: Path, *types: str) -> None:
    """The same canonical lines in the same order, among them events of all these types."""
    expected = canonical_lines(replayed)
    assert canonical_lines(run) == expected
    assert summary_of(run)["plan_sha256"] == summary_of(replayed)["plan_sha256"]
    for kind in types:
        assert any(f'"type":"{kind}"' in line for line in expected), f"no {kind} among the events"


def as_float32(stream: RecordedStream) -> RecordedStream:
    return dataclasses.replace(stream, data=stream.data.astype(np.float32).astype(np.float64))


def test_emg_with_markers_in_chunks_of_any_length_and_eeg_of_64_channels(
    start: Start, shared_data: Path, tmp_path: Path
) -> None:
    emg = shared_data / "xdf" / "openbci-emg" / "markersPlusEKG.xdf"
    eeg = shared_data / "edf" / "motor_T0T1T2_64ch_128Hz.edf"
    configs = {
        path: write_config(bundle_for(select_stream(open_recording(path)).info, tmp_path / path.stem), tmp_path / name)
        for path, name in ((emg, "emg.yaml"), (eeg, "eeg.yaml"))
    }
    pairs = [
        play_and_run(start, tmp_path / f"emg{chunk}", emg, configs[emg], "--speed", 10, "--chunk", chunk)
        for chunk in (1, 7, 50)
    ]
    pairs.append(play_and_run(start, tmp_path / "eeg", eeg, configs[eeg], "--speed", 40, "--chunk", 7))
    for path, config in configs.items():
        assert main(["replay", str(path), "--config", str(config), "--out", str(tmp_path / f"{path.stem}-again")]) == 0
    for pair, path in zip(pairs, (emg, emg, emg, eeg), strict=True):
        assert_equal(pair.ends_well(), tmp_path / f"{path.stem}-again", "marker", "prediction", "state", "stream")


def test_the_simulator_in_chunks_of_any_length_in_single_precision_and_with_a_cold_process_killed(
    start: Start, tmp_path: Path
) -> None:
    settings = ("--seconds", 24, "--set", "seed=11", "--set", "block_s=3", "--speed", 6)
    pairs = [
        play_and_run(start, tmp_path / f"chunk{chunk}", "simulator", "demo", *settings, "--chunk", chunk)
        for chunk in (1, 7, 50)
    ]
    single = play_and_run(start, tmp_path / "single", "simulator", "demo", *settings, "--chunk", 50, "--float32")
    killed = pairs[1]
    wait_for_lines(killed.run, 20)
    killed.live.child("cold").kill()
    killed.live.says("the cold process died (exit code -9), starting it again")
    made = simulated(Simulator(SimulatorSettings(seed=11, block_s=3.0)), 24.0)
    stream = RecordedStream(made.info, made.data, made.timestamps)
    for name, one in (("double", stream), ("float", as_float32(stream))):
        Replay(load_config("demo"), one, made.markers, tmp_path / f"{name}-again").run()
    assert canonical_lines(tmp_path / "double-again") != canonical_lines(tmp_path / "float-again")
    for pair in pairs:
        assert_equal(pair.ends_well(), tmp_path / "double-again", "marker", "prediction", "state", "stream")
    assert_equal(single.ends_well(), tmp_path / "float-again", "marker", "prediction", "state", "stream")
    whole, cut = summary_of(pairs[0].run), summary_of(killed.run)
    for key in ("events", "predictions", "states", "samples"):
        assert cut[key] == whole[key]


def test_a_dump_with_gaps_filled_and_jumped_and_a_text_file(start: Start, tmp_path: Path) -> None:
    made = simulated(Simulator(SimulatorSettings(seed=4)), 20.0)
    kept = np.ones(5000, np.bool_)
    kept[1500:1520] = kept[2750:3400] = False  # 80 ms are filled, 2.6 s are jumped over
    dump = write_npz(tmp_path / "gaps.npz", made.data[kept], made.timestamps[kept], first_sample=4000)
    table = tmp_path / "table.csv"
    rows = np.column_stack((made.timestamps, made.data))
    header = ",".join(("time", *(f"{name} [uV]" for name in made.info.ch_names)))
    np.savetxt(table, rows, fmt="%.17g", delimiter=",", header=header, comments="")
    pairs = [
        play_and_run(start, tmp_path / path.suffix[1:], path, "demo", "--speed", 10, "--chunk", chunk)
        for path, chunk in ((dump, 7), (table, 1))
    ]
    again = {path: tmp_path / f"{path.stem}-again" for path in (dump, table)}
    for path, run in again.items():
        assert main(["replay", str(path), "--config", "demo", "--out", str(run)]) == 0
    assert_equal(pairs[0].ends_well(), again[dump], "gap", "prediction", "state", "stream")
    assert_equal(pairs[1].ends_well(), again[table], "prediction", "state", "stream")
    assert summary_of(pairs[0].run)["samples"]["missing"] == {"filled": 20, "jumped": 650}
    assert canonical_lines(pairs[0].run)[0].startswith('{"id":"gaps/stream/4000/0"')
