"""Real recordings through the whole program: same bytes for any chunking, books balanced, oddities said."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.stream.cli.conftest import Command

_CASES: list[tuple[str, list[str], int, dict[str, Any]]] = [
    ("seizure-scalp/malow_0-300s.edf", [], 30000, {}),
    ("edf/sleepedf_short_psg.edf", ["--select", "sleepedf_short_psg@100Hz"], 30000, {}),
    ("edf/motor_T0T1T2_64ch_128Hz.edf", [], 15872, {"marker": 38}),
    ("edf/eeg_16ch_256Hz.edf", [], 15360, {}),
    ("xdf/openbci-emg/three_motion_personA.xdf", [], 85690, {"marker": 233}),
    ("xdf/openbci-1khz/test.xdf", [], 9520, {}),
    ("discontinuity-88ch/test_CA_208_amp_disconnection.vhdr", [], 9572, {"gap": 1}),
    ("eeglab-set/eeglab_data.set", [], 30504, {"marker": 154}),
    ("bids/tiny_bids", [], 10000, {}),
    ("ieeg/testsub_bids", [], 19001, {}),
    ("muse-erp", [], 30732, {}),
    ("openbci-text/OpenBCI_GUI-v6-blinks-jawClench-alpha.txt.gz", [], 0, {}),
]


def _find(shared_data: Path, name: str) -> Path:
    path = shared_data / name
    if path.is_dir():
        found = sorted([*path.rglob("*.vhdr"), *path.rglob("*.csv*")])
        path = found[0] if found else path / "nothing"
    if not path.exists():
        pytest.skip(f"{name} is not among the shared recordings")
    return path


@pytest.mark.shared
@pytest.mark.parametrize(("name", "options", "n_samples", "events"), _CASES, ids=[case[0] for case in _CASES])
def test_a_real_recording_replays_to_the_same_bytes(
    neuroloop: Command,
    shared_data: Path,
    tmp_path: Path,
    name: str,
    options: list[str],
    n_samples: int,
    events: dict[str, int],
) -> None:
    path = _find(shared_data, name)
    runs = []
    for index, chunk in enumerate(([], ["--chunk", "37"], ["--chunk", "random:7"])):
        out, dump = tmp_path / f"run{index}", tmp_path / f"bandpower{index}.npz"
        done = neuroloop(
            "replay", path, "--config", "monitor", "--out", out, "--dump", f"bandpower={dump}", *options, *chunk
        )
        assert done.status == 0, done.err
        runs.append(((out / "events.jsonl").read_bytes(), dump.read_bytes()))
    assert runs[0] == runs[1] == runs[2]
    summary = json.loads((tmp_path / "run0" / "summary.json").read_text(encoding="utf-8"))
    assert summary["samples"]["balanced"] is True
    if n_samples:
        assert summary["samples"]["in"] == n_samples
    found = Counter(json.loads(line)["type"] for line in runs[0][0].splitlines())
    for kind, count in events.items():
        assert found[kind] == count


@pytest.mark.shared
def test_one_sample_at_a_time_gives_the_same_bytes(neuroloop: Command, shared_data: Path, tmp_path: Path) -> None:
    path = _find(shared_data, "seizure-scalp/malow_0-300s.edf")
    for name, chunk in (("whole", []), ("single", ["--chunk", "1"])):
        dump = tmp_path / f"{name}.npz"
        done = neuroloop(
            "replay", path, "--config", "monitor", "--out", tmp_path / name, "--dump", f"bandpower={dump}", *chunk
        )
        assert done.status == 0, done.err
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "single.npz").read_bytes()
    assert (tmp_path / "whole" / "events.jsonl").read_bytes() == (tmp_path / "single" / "events.jsonl").read_bytes()


@pytest.mark.shared
def test_the_slow_signals_of_a_night_are_a_stream_of_their_own(
    neuroloop: Command, shared_data: Path, tmp_path: Path
) -> None:
    path = _find(shared_data, "edf/sleepedf_short_psg.edf")
    done = neuroloop(
        "replay", path, "--config", "monitor", "--select", "sleepedf_short_psg@1Hz", "--out", tmp_path / "r"
    )
    assert done.status == 1
    assert "high_hz must be below sfreq/2=0.5" in done.err


@pytest.mark.shared
def test_a_lost_connection_is_one_gap_of_its_length(neuroloop: Command, shared_data: Path, tmp_path: Path) -> None:
    path = _find(shared_data, "discontinuity-88ch/test_CA_208_amp_disconnection.vhdr")
    neuroloop("replay", path, "--config", "monitor", "--out", tmp_path / "run")
    lines = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (gap,) = [event for event in map(json.loads, lines) if event["type"] == "gap"]
    assert gap["missing"] == pytest.approx(6346, abs=1)
    assert gap["filled"] is False


@pytest.mark.shared
@pytest.mark.parametrize("name", ["chunk-length-lies", "no-signal"])
def test_malformed_and_signal_free_files_are_refused_in_one_line(
    neuroloop: Command, shared_data: Path, tmp_path: Path, name: str
) -> None:
    if name == "no-signal":
        path = _find(shared_data, "edf/SC4001EC-Hypnogram.edf")
    else:
        folder = shared_data / "xdf" / "malformed"
        found = sorted(folder.glob("*.xdf")) if folder.is_dir() else []
        if not found:
            pytest.skip("no malformed files among the shared recordings")
        outcomes = [neuroloop("replay", one, "--config", "monitor", "--out", tmp_path / one.stem) for one in found]
        assert any(outcome.status == 1 for outcome in outcomes)
        for outcome in outcomes:
            errors = [line for line in outcome.err.splitlines() if line.startswith("neuroloop replay:")]
            assert len(errors) == outcome.status
        return
    done = neuroloop("replay", path, "--config", "monitor", "--out", tmp_path / "run")
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1
