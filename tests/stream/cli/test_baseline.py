"""``neuroloop baseline``, and replays that use what it made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from neuroloop.config.source import SimulatorSettings
from neuroloop.sinks.xdf.stream_header import XdfStream
from neuroloop.sinks.xdf.writer import XdfWriter
from neuroloop.stream.assembly.bundles import SHIPPED_BUNDLES
from neuroloop.stream.sources.simulator import Simulator
from tests.stream.cli.conftest import Command
from tests.stream.sources.simulated import simulated_rows


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "watched.yaml"
    monitors = [
        {"name": "raw", "window_s": 0.5, "baseline": {"minutes": 0.25}},
        {"name": "model", "watch": "model", "window_s": 2.0, "rule": "analytic", "baseline": {"minutes": 0.25}},
    ]
    path.write_text(yaml.safe_dump({"name": "watched", "classifier": {"bundle": "demo"}, "drift": monitors}))
    return path


def drift_events(run: Path) -> list[dict[str, object]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == "drift"]


def test_a_baseline_is_made_shown_and_used(
    neuroloop: Command, recording: Path, config_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "normal.json"
    made = neuroloop("baseline", "make", recording, "--config", config_file, "--out", file)
    assert made.status == 0, made.err
    assert "raw: 40 windows, enough for every rule; id " in made.err
    shown = neuroloop("baseline", "show", file)
    assert shown.status == 0
    ident = json.loads(file.read_text())["monitors"]["raw"]["id"]
    assert ident in shown.out
    assert "prior:" in shown.out
    use = [f"drift.{i}.baseline={{source: file, path: {file}}}" for i in range(2)]
    out = tmp_path / "run"
    sets = [part for one in use for part in ("--set", one)]
    done = neuroloop("replay", recording, "--config", config_file, "--out", out, *sets)
    assert done.status == 0, done.err
    told = [event for event in drift_events(out) if event["what"] == "baseline"]
    assert [event["sample"] for event in told if event["monitor"] == "raw"] == [0]
    assert ident in {event["baseline"] for event in told}


def test_rebaseline_takes_the_stream_in_place_of_a_file(
    neuroloop: Command, recording: Path, config_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "normal.json"
    assert neuroloop("baseline", "make", recording, "--config", config_file, "--out", file).status == 0
    for name, extra, first in (("given", (), 0), ("anew", ("--rebaseline",), 3750)):
        use = ("--set", f"drift.0.baseline={{source: file, path: {file}, minutes: 0.25}}")
        out = tmp_path / name
        assert neuroloop("replay", recording, "--config", config_file, "--out", out, *use, *extra).status == 0
        told = [one for one in drift_events(out) if one["what"] == "baseline" and one["monitor"] == "raw"]
        assert [one["sample"] for one in told] == [first]


def test_a_bundle_may_bring_its_baseline(
    neuroloop: Command, recording: Path, config_file: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(SHIPPED_BUNDLES / "demo", bundle)
    made = neuroloop("baseline", "make", recording, "--config", config_file, "--out", bundle / "baseline.json")
    assert made.status == 0, made.err
    out = tmp_path / "run"
    named = ("--set", f"classifier.bundle={bundle}")
    done = neuroloop("replay", recording, "--config", config_file, "--out", out, *named)
    assert done.status == 0, done.err
    told = [one for one in drift_events(out) if one["what"] == "baseline" and one["monitor"] == "raw"]
    assert [one["sample"] for one in told] == [0]


def test_accuracy_is_in_the_summary_where_labels_are_known(
    neuroloop: Command, recording: Path, config_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    labels = ("--set", "accuracy={labels: {go: alpha}}")
    assert neuroloop("replay", recording, "--config", config_file, "--out", out, *labels).status == 0
    assert json.loads((out / "summary.json").read_text())["accuracy"]["judged"] == 0


def test_numbered_label_markers_are_judged_class_by_class_without_rules(
    neuroloop: Command, tmp_path: Path, config_file: Path
) -> None:
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=4.0)), 20.0)
    info, path, out = made.info, tmp_path / "labelled.xdf", tmp_path / "run"
    channels = (info.ch_names, info.ch_types, info.ch_units)
    with XdfWriter(path) as writer:
        signal = writer.add_stream(XdfStream("amp", "EEG", "amp-1", info.sfreq, *channels, "double64"))
        labels = writer.add_stream(XdfStream("labels", "Markers", "m", 0.0, ("label",), ("",), ("",), "int64"))
        writer.write_samples(labels, np.array([[0], [0], [1], [1]]), made.timestamps[0] + np.arange(4.0) * 4)
        writer.write_samples(signal, made.data, made.timestamps)
    done = neuroloop("replay", path, "--config", config_file, "--out", out, "--set", "accuracy={}")
    assert done.status == 0, done.err
    accuracy = json.loads((out / "summary.json").read_text())["accuracy"]
    table = accuracy["confusion"]
    assert list(table) == list(table["rest"]) == ["rest", "alpha", "seizure"]
    assert sum(table["rest"].values()) > 0
    assert sum(table["alpha"].values()) > 0
    assert sum(table["seizure"].values()) == 0
    assert accuracy["judged"] == sum(sum(row.values()) for row in table.values())
    assert accuracy["right"] == sum(table[name][name] for name in table)


def test_a_label_rule_without_a_class_is_a_fault_before_the_run(
    neuroloop: Command, recording: Path, config_file: Path
) -> None:
    labels = ("--set", "accuracy={labels: {go: alpa}}")
    done = neuroloop("check", config_file, "--stream", recording, *labels)
    assert done.status == 1
    assert (
        "accuracy.labels.go must be a class (rest, alpha, seizure), the index of one, or empty, got 'alpa'" in done.err
    )


def test_an_existing_file_is_never_replaced(neuroloop: Command, recording: Path, config_file: Path) -> None:
    outcome = neuroloop("baseline", "make", recording, "--config", config_file, "--out", config_file)
    assert outcome.status == 1
    assert "out must be a new file, got" in outcome.err


def test_a_configuration_without_monitors_is_refused(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    outcome = neuroloop("baseline", "make", recording, "--config", "demo", "--out", tmp_path / "b.json")
    assert (outcome.status, "drift must have at least one monitor" in outcome.err) == (1, True)


def test_too_short_a_recording_is_refused(
    neuroloop: Command, recording: Path, config_file: Path, tmp_path: Path
) -> None:
    long = ("--set", "drift.1.window_s=60")
    outcome = neuroloop("baseline", "make", recording, "--config", config_file, "--out", tmp_path / "b.json", *long)
    assert outcome.status == 1
    assert "recording must be longer than window_s=60 of 'model', got 20 s" in outcome.err


def test_something_else_is_no_baseline(neuroloop: Command, config_file: Path) -> None:
    outcome = neuroloop("baseline", "show", config_file)
    assert (outcome.status, outcome.out) == (1, "")
    assert "baseline must be JSON" in outcome.err
