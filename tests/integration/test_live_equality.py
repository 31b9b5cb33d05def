"""What a live run decides is what a replay of the same samples decides, byte for byte."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.bundle import BundleInput
from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.config.stages import BandPowerSettings
from neuroloop.models.bundle import save_bundle
from neuroloop.stream.cli.main import main
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.playback.feed import Feed
from neuroloop.stream.replay.replay import Replay
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator
from tests.integration.live import FAST, SHARING, Program, Start, canonical_lines, summary_of, wait_for_lines
from tests.integration.playing import Play, Playing, recorded, simulated
from tests.models.naive import make_bundle, make_network
from tests.stream.cli.conftest import write_npz
from tests.stream.sources.simulated import simulated_rows

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
    player: Playing
    live: Program

    def ends_well(self) -> Path:
        self.live.ends_well()
        self.player.ends_well()
        summary = summary_of(self.run)
        assert summary["ended"] == "finished"
        assert summary["rings"] == {"samples_lost": 0, "events_lost": 0}
        assert summary["events_unwritten"] == 0
        return self.run


def play_and_run(
    start: Start, play: Play, run: Path, feed: Feed, config: object, *options: object, **sender: Any
) -> Pair:
    """Send a feed to a run of its own."""
    name = f"{run.parent.name}-{run.name}"
    player = play(feed, name=name, **sender)
    live = start(
        "run", config, "--out", run, *SHARING, *FAST, "--set", "source.kind=lsl", "--set", f"source.name={name}",
        "--set", f"markers.names=[{name}-markers]", *options,
    )  # fmt: skip
    return Pair(run, player, live)


def in_order_of_samples(lines: list[str]) -> list[str]:
    """Return the lines by sample; those of markers that the network brought late stand where they belong."""
    return sorted(lines, key=lambda line: (json.loads(line)["sample"], line))


def assert_equal(run: Path, replayed: Path, *types: str) -> None:
    """The same canonical lines, among them events of all these types; in the same order but for markers' own."""
    expected = canonical_lines(replayed)
    is_marker = '"type":"marker"'
    lines = canonical_lines(run)
    assert in_order_of_samples(lines) == in_order_of_samples(expected)
    assert [one for one in lines if is_marker not in one] == [one for one in expected if is_marker not in one]
    assert summary_of(run)["plan_sha256"] == summary_of(replayed)["plan_sha256"]
    for kind in types:
        assert any(f'"type":"{kind}"' in line for line in expected), f"no {kind} among the events"


def as_float32(stream: RecordedStream) -> RecordedStream:
    return dataclasses.replace(stream, data=stream.data.astype(np.float32).astype(np.float64))


def test_emg_with_markers_sample_by_sample_and_eeg_of_64_channels(
    start: Start, play: Play, shared_data: Path, tmp_path: Path
) -> None:
    emg = shared_data / "xdf" / "openbci-emg" / "markersPlusEKG.xdf"
    eeg = shared_data / "edf" / "motor_T0T1T2_64ch_128Hz.edf"
    pairs = {}
    for path, chunk, speed, options in ((emg, 1, 2.5, ("--record",)), (eeg, 7, 40.0, ())):
        feed = recorded(path)
        config = write_config(bundle_for(feed.info, tmp_path / path.stem), tmp_path / f"{path.stem}.yaml")
        run = tmp_path / f"{path.stem}-run"
        pairs[path] = play_and_run(start, play, run, feed, config, *options, chunk_samples=chunk, speed=speed), config
    for path, (pair, config) in pairs.items():
        again = tmp_path / f"{path.stem}-again"
        assert main(["replay", str(path), "--config", str(config), "--out", str(again)]) == 0
        assert_equal(pair.ends_well(), again, "marker", "prediction", "state", "stream")
    of_run = tmp_path / "of-the-recorded-run"
    assert main(["replay", str(pairs[emg][0].run), "--out", str(of_run)]) == 0
    assert canonical_lines(of_run) == canonical_lines(pairs[emg][0].run)


def test_the_simulator_in_single_precision_and_with_a_cold_process_killed(
    start: Start, play: Play, tmp_path: Path
) -> None:
    whole = play_and_run(
        start, play, tmp_path / "whole", simulated(24.0, seed=11, block_s=3), "demo", chunk_samples=50, speed=2.5,
        value_format="float32",
    )  # fmt: skip
    killed = play_and_run(
        start, play, tmp_path / "killed", simulated(24.0, seed=11, block_s=3), "demo", chunk_samples=7, speed=2.5
    )
    wait_for_lines(killed.run, 20)
    killed.live.child("cold").kill()
    killed.live.says("the cold process died (exit code -9), starting it again")
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=3.0)), 24.0)
    stream = RecordedStream(made.info, made.data, made.timestamps)
    for name, one in (("double", stream), ("float", as_float32(stream))):
        Replay(load_config("demo"), one, made.markers, tmp_path / f"{name}-again").run()
    assert canonical_lines(tmp_path / "double-again") != canonical_lines(tmp_path / "float-again")
    for pair, again in ((whole, "float-again"), (killed, "double-again")):
        assert_equal(pair.ends_well(), tmp_path / again, "marker", "prediction", "state", "stream")
        live, replayed = summary_of(pair.run), summary_of(tmp_path / again)
        for key in ("events", "predictions", "states", "samples"):
            assert live[key] == replayed[key]


def test_a_dump_with_gaps_filled_and_jumped(start: Start, tmp_path: Path) -> None:
    """From the command that plays to the run's events."""
    made = simulated_rows(Simulator(SimulatorSettings(seed=4)), 20.0)
    kept = np.ones(5000, np.bool_)
    kept[1500:1520] = kept[2750:3400] = False  # 80 ms are filled, 2.6 s are jumped over
    dump = write_npz(tmp_path / "gaps.npz", made.data[kept], made.timestamps[kept], first_sample=4000)
    name, run, again = f"{tmp_path.name}-gaps", tmp_path / "run", tmp_path / "again"
    player = start("play", dump, "--wait", "--name", name, "--speed", 10, "--chunk", 7)
    live = start(
        "run", "demo", "--out", run, *SHARING, *FAST, "--set", "source.kind=lsl", "--set", f"source.name={name}",
        "--set", f"markers.names=[{name}-markers]",
    )  # fmt: skip
    assert main(["replay", str(dump), "--config", "demo", "--out", str(again)]) == 0
    live.ends_well()
    player.ends_well()
    assert_equal(run, again, "gap", "prediction", "state", "stream")
    assert summary_of(run)["samples"]["missing"] == {"filled": 20, "jumped": 650}
    assert canonical_lines(run)[0].startswith('{"id":"gaps/stream/4000/0"')
