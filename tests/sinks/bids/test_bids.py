"""A run's events as BIDS, against a table written by hand and the rules of the specification."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neuroloop.sinks.bids.export import BidsName, ExportError, default_name, export_bids, label_of
from neuroloop.stream.cli.main import main

CONFIG = """name: closed-loop
source: {kind: lsl}
classifier: {bundle: demo}
stimulation:
  electrode_area_cm2: 0.06
  route: implanted
  profile: peripheral_nerve
  subject: S-01
  electrode: LT01-LT02
  mode: MODE
  device: {kind: DEVICE}
  table:
    - {state: alpha, frequency_hz: 20, amplitude_ma: 2.5, pulse_width_us: 200, duration_s: 10}
    - {state: seizure, frequency_hz: 100, amplitude_ma: 5, pulse_width_us: 500, duration_s: 10}
"""
DOSE = {
    "state": "alpha",
    "waveform": "biphasic",
    "frequency_hz": 20.0,
    "amplitude_ma": 2.5,
    "pulse_width_us": 200.0,
    "charge_per_phase_uc": 0.5,
    "shannon_k": 0.6197887582883939,
}
GOLDEN = Path(__file__).parent / "golden" / "events.tsv"
"""Written by hand."""
NUMBER = re.compile(r" *[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)? *")
"""``formats.number`` of the BIDS schema."""


def event(kind: str, sample: int, /, **values: Any) -> dict[str, Any]:
    identity = {"id": f"amp/{kind}/{sample}/0", "type": kind, "stream": "amp", "sample": sample + 40}
    return {**identity, "time": 1000.0 + sample / 250, "delay_s": 0.4, **values, "age_s": None, "wall_time": None}


EVENTS = [
    event("stream", 0, what="start", content="EEG", sfreq=250.0, channels=["C3"], units=["uV"]),
    event("state", 0, state="rest", previous=None, confidence=0.9),
    event("marker", 250, label="eyes\tclosed", marker_stream="m", marker_time=1001.0),
    event("command", 500, action="arm", reason="operator"),
    event("prediction", 700, label="rest", confidence=0.9, probabilities=[0.9, 0.1], valid=True),
    event("artifact", 1000, stage="a", kind="amplitude", channels=["C3"], first_sample=790, last_sample=989,
          duration_s=0.8, open=False),
    event("state", 1250, state="alpha", previous="rest", confidence=0.9),
    event("command", 1550, action="start", **DOSE),
    event("command", 2625, action="stop", reason="state"),
    event("gap", 2650, missing=20, duration_s=0.08, first_missing=2670, filled=True),
    event("refusal", 2750, what="start", state="seizure", reason="shannon_k must be at most 1.5, got 2.018",
          machine="ARMED", rules=[
              {"rule": "charge_density_uc_cm2", "value": 41.7, "limit": 30.0, "relation": "at most"},
              {"rule": "shannon_k", "value": 2.0177287669604316, "limit": 1.5, "relation": "at most"}]),
    event("refusal", 2760, what="arm", state=None, reason="authorised must be True, got False", machine="ARMED",
          rules=[{"rule": "authorised", "value": False, "limit": True, "relation": ""}]),
    event("command", 3000, action="disarm", reason="operator"),
]  # fmt: skip


def make_run(folder: Path, *, mode: str = "real", device: str = "tcp", events: list[dict[str, Any]] = EVENTS) -> Path:
    folder.mkdir()
    text = CONFIG.replace("MODE", mode).replace("DEVICE", device)
    if device == "tcp":
        text = text.replace("{kind: tcp}", "{kind: tcp, host: 127.0.0.1, port: 5001}")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    return folder


def table_of(root: Path) -> list[list[str]]:
    (path,) = root.rglob("*_events.tsv")
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def golden(kind: str) -> str:
    return GOLDEN.read_text(encoding="utf-8").replace("	electrical_stimulation	", f"	{kind}	")


@pytest.mark.parametrize(
    ("mode", "device", "kind"),
    [
        ("real", "tcp", "electrical_stimulation"),
        ("sham", "tcp", "electrical_stimulation_sham"),
        ("blinded", "tcp", "electrical_stimulation_blinded"),
        ("real", "simulated", "electrical_stimulation_simulated"),
    ],
)
def test_the_table_is_the_one_written_by_hand(tmp_path: Path, mode: str, device: str, kind: str) -> None:
    run = make_run(tmp_path / "run", mode=mode, device=device)
    table, *_ = export_bids(run, tmp_path / "data", default_name(run))
    assert table == tmp_path / "data" / "sub-S01" / "ieeg" / "sub-S01_task-closedloop_events.tsv"
    assert table.read_bytes().decode() == golden(kind)


def test_every_cell_keeps_the_rules_of_tabular_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    export_bids(run, tmp_path / "data", default_name(run))
    header, *rows = table_of(tmp_path / "data")
    assert header[:2] == ["onset", "duration"]
    assert len(set(header)) == len(header)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in header)
    assert all(len(row) == len(header) and all(row) for row in rows)
    numeric = [index for index, name in enumerate(header) if name not in
               ("trial_type", "electrical_stimulation_type", "electrical_stimulation_site",
                "electrical_stimulation_refusal")]  # fmt: skip
    cells = [row[index] for row in rows for index in numeric]
    assert all(cell == "n/a" or NUMBER.fullmatch(cell) for cell in cells)
    onsets = [float(row[0]) for row in rows]
    assert onsets == sorted(onsets)
    assert all(row[1] == "n/a" or float(row[1]) >= 0 for row in rows)


def test_the_dictionary_describes_every_column_and_every_trial_type(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    table, dictionary, *_ = export_bids(run, tmp_path / "data", default_name(run))
    described = json.loads(dictionary.read_text(encoding="utf-8"))
    header, *rows = table_of(tmp_path / "data")
    assert dictionary.name == table.name.replace(".tsv", ".json")
    assert set(header) <= set(described)
    assert set(described["trial_type"]["Levels"]) == {row[2] for row in rows}
    units = {name: described[name]["Units"] for name in header if "Units" in described[name]}
    assert units == {
        "onset": "s",
        "duration": "s",
        "electrical_stimulation_current": "A",
        "electrical_stimulation_frequency": "Hz",
        "electrical_stimulation_pulse_width": "s",
        "electrical_stimulation_charge_per_phase": "C",
    }


@pytest.mark.parametrize(
    ("mode", "device", "expected", "text"),
    [("real", "tcp", True, "current was commanded"), ("simulate", "simulated", False, "no current"),
     ("sham", "tcp", False, "ramps only"), ("blinded", "tcp", True, "sealed assignment")],
)  # fmt: skip
def test_the_sidecar_says_whether_and_how_there_was_stimulation(
    tmp_path: Path, mode: str, device: str, expected: bool, text: str
) -> None:
    run = make_run(tmp_path / "run", mode=mode, device=device)
    _, _, sidecar, description = export_bids(run, tmp_path / "data", default_name(run))
    record = json.loads(sidecar.read_text(encoding="utf-8"))
    assert sidecar.name == "sub-S01_task-closedloop_ieeg.json"
    assert record["ElectricalStimulation"] is expected
    assert text in record["ElectricalStimulationParameters"]
    assert "LT01-LT02" in record["ElectricalStimulationParameters"]
    required = {"TaskName", "iEEGReference", "SamplingFrequency", "PowerLineFrequency", "SoftwareFilters"}
    assert required <= set(record)
    assert record["SamplingFrequency"] == 250.0
    assert json.loads(description.read_text(encoding="utf-8"))["BIDSVersion"]


def test_a_dose_that_nothing_ended_has_no_duration(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", events=EVENTS[:8])
    export_bids(run, tmp_path / "data", default_name(run))
    (dose,) = [row for row in table_of(tmp_path / "data") if row[2] == "electrical_stimulation"]
    assert dose[:2] == ["6.2", "n/a"]


def test_a_dose_ends_where_another_begins(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", events=[*EVENTS[:8], event("command", 1800, action="start", **DOSE)])
    export_bids(run, tmp_path / "data", default_name(run))
    doses = [row for row in table_of(tmp_path / "data") if row[2] == "electrical_stimulation"]
    assert [dose[:2] for dose in doses] == [["6.2", "1"], ["7.2", "n/a"]]


def test_a_run_without_stimulation_is_exported_as_eeg(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", events=EVENTS[:3])
    text = (run / "config.yaml").read_text(encoding="utf-8").split("stimulation:")[0]
    (run / "config.yaml").write_text(text, encoding="utf-8")
    table, _, sidecar, _ = export_bids(run, tmp_path / "data", default_name(run))
    assert table.parent.name == "eeg"
    assert json.loads(sidecar.read_text(encoding="utf-8"))["ElectricalStimulation"] is False


def test_the_command_writes_a_second_run_beside_the_first_and_never_over_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, root = make_run(tmp_path / "run"), tmp_path / "data"
    first = ["export", str(run), "--bids", str(root), "--session", "01", "--run-index", "1"]
    assert main(first) == 0
    assert (root / "sub-S01" / "ses-01" / "ieeg" / "sub-S01_ses-01_task-closedloop_run-1_events.tsv").is_file()
    assert main([*first[:-1], "2", "--subject", "other", "--task", "nap", "--datatype", "eeg"]) == 0
    assert (root / "sub-other" / "ses-01" / "eeg" / "sub-other_ses-01_task-nap_run-2_eeg.json").is_file()
    capsys.readouterr()
    assert main(first) == 1
    assert "bids must be a dataset without this run, got one with" in capsys.readouterr().err


def test_what_is_no_run_and_what_is_no_label_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"run must be a folder with config\.yaml, got"):
        default_name(tmp_path)
    run = make_run(tmp_path / "run")
    with pytest.raises(ExportError, match=r"subject must be letters and digits only, got 's-1'"):
        BidsName("s-1", "nap")
    with pytest.raises(ExportError, match=r"run must be digits only, got 'a'"):
        BidsName("s1", "nap", run="a")
    (run / "events.jsonl").write_text('{"type": "state"}\n', encoding="utf-8")
    with pytest.raises(ExportError, match=r"events\.jsonl:1: line must be one event, got one whose id must be given"):
        export_bids(run, tmp_path / "data", default_name(run))
    (run / "events.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ExportError, match=r"events\.jsonl must say what the stream is .*, got none"):
        export_bids(run, tmp_path / "data", default_name(run))
    assert not (tmp_path / "data").exists()


def test_a_run_of_a_box_that_is_refused_today_says_so_in_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(
        text.replace("{kind: tcp, host: 127.0.0.1, port: 5001}", "{kind: serial}"), "utf-8"
    )
    with pytest.raises(ExportError, match=r"^run must have settings that this version still takes, got .*: ") as caught:
        export_bids(run, tmp_path / "bids", default_name(run))
    assert "for device.kind 'serial'" in str(caught.value)
    assert str(caught.value).endswith("(export it with the version that recorded it)")
    assert "\n" not in str(caught.value)


def test_labels_keep_letters_and_digits() -> None:
    assert label_of("S-01_a") == "S01a"
    assert label_of("--") == "x"


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="no bids-validator-deno here (pip install)")
def test_the_bids_validator_finds_no_fault_in_the_files_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    export_bids(run, tmp_path / "data", default_name(run))
    done = subprocess.run(
        ["bids-validator-deno", str(tmp_path / "data"), "--json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    ours = [one for one in issues if one["severity"] == "error" and "events" in one.get("location", "")]
    assert not ours, ours
