"""``neuroloop check``: the plan, or every fault with its place."""

import json
from pathlib import Path

import numpy as np

from tests.stream.cli.conftest import Command, write_npz


def test_a_plan_says_rates_delays_warm_up_and_what_is_left_out(neuroloop: Command, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "slow.npz", np.zeros((200, 4)), np.arange(200) / 100.0, sfreq=100.0)
    done = neuroloop("check", "monitor", "--stream", path)
    assert done.status == 0, done.err
    assert "left out: notch 50 Hz" in done.out
    assert "bandpower" in done.out
    assert "plan " in done.out


def test_channels_outside_the_average_are_said_and_stand_in_the_plan(neuroloop: Command, shared_data: Path) -> None:
    path = shared_data / "bids/tiny_bids/sub-01/ses-eeg/eeg/sub-01_ses-eeg_task-rest_eeg.vhdr"
    said = (
        "ECG (ECG, uV), HEOG, VEOG (EOG, uV), GSR (EDA, S), Temperature (TEMP, degC): "
        "not in the average over 64 channels (EEG, uV), handed on unchanged"
    )
    assert f"  left out: {said}\n" in neuroloop("check", "monitor", "--stream", path).out
    plan = json.loads(neuroloop("check", "monitor", "--stream", path, "--json").out)["plan"]
    assert plan["stages"][1]["left_out"] == [said]


def test_a_unit_too_many_is_a_fault_of_the_average(neuroloop: Command, tmp_path: Path) -> None:
    units = np.array(["uV", "uV", "mV", "uV"])
    path = write_npz(tmp_path / "units.npz", np.zeros((500, 4)), np.arange(500) / 250.0, units=units)
    done = neuroloop("check", "monitor", "--stream", path)
    assert done.status == 1
    fault = "stages.1 (reference): channels must have one unit to be averaged, got Fp1, Fp2, F4 in uV; F3 in mV"
    assert done.err.splitlines()[0].endswith(f"{fault}: leave some out")
    assert len(done.err.splitlines()) == 1


def test_faults_behind_a_single_reference_are_not_guessed(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "single.yaml"
    path.write_text(
        "name: single\nstages:\n  - {kind: reference, channels: [Nope]}\n  - {kind: pick, channels: [Nada]}\n", "utf-8"
    )
    done = neuroloop("check", path, "--stream", recording)
    assert len(done.err.splitlines()) == 1
    path.write_text(path.read_text("utf-8").replace("Nope", "C3").replace("Nada", "C3"), "utf-8")
    done = neuroloop("check", path, "--stream", recording)
    assert "stages.1 (pick): channels.0 must be a channel of the stream (Fp1, Fp2, F3, F4, C4, P3, P4)" in done.err


def test_the_plan_as_json_holds_the_hash_and_every_stage(neuroloop: Command, recording: Path) -> None:
    first, second = (json.loads(neuroloop("check", "monitor", "--stream", recording, "--json").out) for _ in range(2))
    assert first == second
    plan = first["plan"]
    assert first["ok"] is True
    assert [stage["name"] for stage in plan["stages"]] == ["filter", "reference", "bandpower"]
    assert plan["stages"][2]["sfreq"] == 250 / 12
    assert len(plan["hash"]) == 64
    assert plan["memory_bytes"] > 0


def test_another_setting_gives_another_hash(neuroloop: Command, recording: Path) -> None:
    plans = [
        json.loads(neuroloop("check", "monitor", "--stream", recording, "--json", *options).out)["plan"]["hash"]
        for options in ([], ["--set", "stages.0.designs.1.high_hz=39.9"], ["--set", "source.fill=zero"])
    ]
    assert len(set(plans)) == 3


def test_all_faults_come_at_once_with_their_lines(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\nsource: {kind: lsl, nmae: x}\nstages:\n  - kind: bandpowr\n  - {kind: zscore}\n", "utf-8"
    )
    done = neuroloop("check", path)
    assert done.status == 1
    lines = done.err.strip().splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{path}:2", f"{path}:4", f"{path}:5", f"{path}:5"]
    as_json = neuroloop("check", path, "--json")
    assert as_json.status == 1
    assert len(json.loads(as_json.out)["faults"]) == 4


def test_without_a_stream_the_settings_are_still_checked(neuroloop: Command) -> None:
    done = neuroloop("check", "monitor")
    assert done.status == 0
    assert "add --stream RECORDING" in done.out


def test_a_bundle_gives_the_plan_its_stream(neuroloop: Command) -> None:
    done = neuroloop("check", "demo", "--json")
    assert done.status == 0, done.err
    plan = json.loads(done.out)["plan"]
    assert [stage["name"] for stage in plan["stages"]][-1] == "classifier"
    assert plan["bundle"]


def test_all_faults_that_a_stream_shows_come_at_once_with_their_lines(
    neuroloop: Command, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\nstages:\n"
        "  - {kind: reference, channels: [Nope, Nada]}\n"
        "  - {kind: filter, designs: [{kind: lowpass, freq_hz: 400}, {kind: highpass, freq_hz: 500}]}\n"
        "  - kind: bandpower\n    window_s: 1\n    hop_s: 0.1\n    bands: {wide: [1, 300], thin: [8.1, 8.2]}\n",
        "utf-8",
    )
    done = neuroloop("check", path, "--stream", recording)
    assert done.status == 1
    begins = [line.split(" must ")[0].removeprefix(f"neuroloop check: {path}:") for line in done.err.splitlines()]
    assert begins == [
        "3: stages.0 (reference): channels.0",
        "3: stages.0 (reference): channels.1",
        "4: stages.1 (filter): designs.0.freq_hz",
        "4: stages.1 (filter): designs.1.freq_hz",
        "8: stages.2 (bandpower): bands.wide",
        "8: stages.2 (bandpower): bands.thin",
    ]
    override = neuroloop("check", "monitor", "--stream", recording, "--set", "stages.2.window_s=1e9")
    assert "--set stages.2.window_s=1e9: stages.2 (bandpower): window_s must be at most" in override.err


def test_a_shape_stands_for_a_stream_and_finds_a_state_that_fits_no_snapshot(neuroloop: Command) -> None:
    done = neuroloop("check", "monitor", "--stream", "64x1000", "--set", "worker.snapshot_s=5")
    assert done.status == 0, done.err
    assert "worker: a snapshot of at most " in done.out
    small = ("--set", "worker.snapshot_kb=16")
    err = neuroloop("check", "monitor", "--stream", "64x1000", *small).err
    assert "worker.snapshot_kb must be at least " in err
    assert "the state of stream 'shape' in kilobytes" in err
    err = neuroloop("check", "monitor", "--stream", "20000x1000", *small).err
    assert "stream must be of 1 to 10000 channels at 1e-07 to 1e+06 Hz, got 20000x1000" in err
