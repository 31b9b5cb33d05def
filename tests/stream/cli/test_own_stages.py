"""Stages of a lab's own: found, hashed, proven; and code that nobody named on the command line is never taken."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from neuroloop.models.bundle import load_bundle, save_bundle
from neuroloop.processors.stages import verdict
from tests.processors.stages import faulty_stages
from tests.stream.cli.conftest import Command

DEMO = Path(__file__).resolve().parents[3] / "models" / "bundles" / "demo"
FAULTY = Path(faulty_stages.__file__)
CLOSED = "must be a known kind (code is taken from here only with --allow-code or NEUROLOOP_ALLOW_CODE=1)"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a configuration and, beside it, a package that holds its stage."""
    folder = tmp_path / "lab"
    (folder / "labcode").mkdir(parents=True)
    (folder / "labcode" / "__init__.py").write_text("", "utf-8")
    shutil.copy(FAULTY, folder / "labcode" / "stages.py")
    write(folder, "labcode.stages:Smooth")
    monkeypatch.setattr(verdict, "proof_folder", lambda: tmp_path / "proofs")
    monkeypatch.delenv("NEUROLOOP_ALLOW_CODE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] in ("labcode", "evil")]:
        del sys.modules[name]


def write(folder: Path, kind: str, **values: object) -> Path:
    stages = [{"kind": "filter", "designs": [{"kind": "notch", "freq_hz": 50.0}]}, {"kind": kind, **values}]
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "stages": stages}), "utf-8")
    return path


def evil(folder: Path) -> Path:
    """Put a module that leaves a trace when it is imported; return where."""
    trace = folder / "was-here"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Stage: ...\n", "utf-8")
    return trace


def plan_of(neuroloop: Command, config: Path, recording: Path) -> dict[str, object]:
    done = neuroloop("check", config, "--stream", recording, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out)["plan"]  # type: ignore[no-any-return]


def test_a_stage_beside_the_configuration_runs_and_stands_in_plan_and_provenance(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path
) -> None:
    done = neuroloop("replay", recording, "--config", lab / "own.yaml", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "run" / "provenance.json").read_text("utf-8"))
    own = record["own_stages"]["smooth"]
    assert own["own_kind"] == "labcode.stages:Smooth"
    assert len(own["code_sha256"]) == 64
    assert own["proof"]["verdict"] == "unproven"
    assert record["plan"]["stages"][1]["code_sha256"] == own["code_sha256"]


def test_any_file_of_the_package_is_part_of_the_plan_hash(neuroloop: Command, recording: Path, lab: Path) -> None:
    before = plan_of(neuroloop, lab / "own.yaml", recording)["hash"]
    assert plan_of(neuroloop, lab / "own.yaml", recording)["hash"] == before
    (lab / "labcode" / "helper.py").write_text("GAIN = 2.0\n", "utf-8")
    assert plan_of(neuroloop, lab / "own.yaml", recording)["hash"] != before


def test_faults_of_its_settings_are_named_with_their_line(neuroloop: Command, recording: Path, lab: Path) -> None:
    path = write(lab, "labcode.stages:Smooth", weight="much", speed=3)
    done = neuroloop("check", path, "--stream", recording)
    lines = path.read_text("utf-8").splitlines()
    at = {key: next(i for i, line in enumerate(lines, 1) if f"{key}:" in line) for key in ("weight", "speed")}
    assert sorted(done.err.splitlines()) == sorted([
        f"neuroloop check: {path}:{at['weight']}: stages.1.weight must be a valid number, unable to parse string as a "
        "number, got 'much'",
        f"neuroloop check: {path}:{at['speed']}: stages.1.speed must be a known setting, got an unknown key",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (
            "nolab.stages:Smooth",
            r"kind must name a class that can be imported, got 'nolab.stages:Smooth' (Module",
        ),
        ("labcode.stages:Rough", "kind must name a class of labcode.stages, got 'labcode.stages:Rough'"),
        ("labcode.stages:never", "kind must name a class of labcode.stages, got 'labcode.stages:never'"),
        ("labcode:", "kind must be a known kind or package.module:Class, got 'labcode:'"),
        (
            "smoth",
            "kind must be one of filter, reference, pick, window, bandpower, logvar, zscore, artifacts, got 'smo",
        ),
        ("labcode.stages:NoStage", "kind must name a stage, got NoStage without newest_input, process"),
    ],
)
def test_a_kind_that_leads_nowhere_is_one_line(
    neuroloop: Command, recording: Path, lab: Path, kind: str, fault: str
) -> None:
    done = neuroloop("check", write(lab, kind), "--stream", recording)
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert fault in done.err


def test_a_stage_that_fails_in_the_stream_ends_the_run_in_one_line(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path
) -> None:
    path = write(lab, "labcode.stages:Raises")
    done = neuroloop("replay", recording, "--config", path, "--out", tmp_path / "run")
    assert done.status == 1
    assert "stage 'raises' must take every chunk, got ZeroDivisionError at stages.py:" in done.err
    assert len(done.err.splitlines()) == 1
    again = ("replay", recording, "--config", write(lab, "labcode.stages:Smooth"), "--out", tmp_path / "run")
    assert neuroloop(*again).status == 0  # what failed does not stand in the way


@pytest.mark.parametrize("command", ["replay", "check", "run"])
def test_a_hostile_run_folder_is_refused_in_one_line(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path, command: str
) -> None:
    run = tmp_path / "run"
    assert neuroloop("replay", recording, "--config", "monitor", "--out", run).status == 0
    trace = evil(run)
    write(run, "evil:Stage").replace(run / "config.yaml")
    arguments: dict[str, tuple[object, ...]] = {
        "replay": (run, "--out", tmp_path / "again"),
        "check": (run / "config.yaml",),
        "run": (run / "config.yaml", "--set", "source.resolve_s=0.1"),
    }
    done = neuroloop(command, *arguments[command])
    assert done.status == 1
    rule = f"stages.1.kind {CLOSED}, got 'evil:Stage'"
    assert done.err.splitlines()[0].endswith(rule)
    assert len(done.err.splitlines()) == 1
    assert not trace.exists()
    assert "evil" not in sys.modules
    done = neuroloop(command, *arguments[command], "--allow-code")
    assert "must be a known kind" not in done.err
    assert trace.exists()


def test_a_folder_that_does_not_look_like_a_run_is_no_way_round(neuroloop: Command, lab: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    trace = evil(run)
    write(run, "evil:Stage").replace(run / "config.yaml")
    done = neuroloop("replay", run, "--out", tmp_path / "again")
    assert f"stages.1.kind {CLOSED}" in done.err
    assert not trace.exists()


def hostile_bundle(folder: Path, kind: str) -> Path:
    """Copy the demo's bundle, with one more stage."""
    bundle = load_bundle(DEMO)
    shutil.copytree(DEMO, folder)
    record = json.loads((folder / "model.json").read_text("utf-8"))
    record["stages"] = [{"kind": kind, "name": "own"}, *record["stages"]]
    (folder / "model.json").write_text(json.dumps(record), "utf-8")
    assert bundle.settings.sha256 == record["sha256"]
    return folder


@pytest.mark.parametrize("command", ["check", "replay", "evaluate"])
def test_a_hostile_bundle_is_refused_in_one_line(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path, command: str
) -> None:
    bundle = hostile_bundle(tmp_path / "bundle", "evil:Stage")
    trace = evil(lab)
    sys.path.append(str(lab))
    of_bundle = ("--set", f"classifier.bundle={bundle}")
    arguments: dict[str, tuple[object, ...]] = {
        "check": ("demo", *of_bundle),
        "replay": (recording, "--config", "demo", *of_bundle, "--out", tmp_path / "out"),
        "evaluate": (bundle, recording, "--out", tmp_path / "out"),
    }
    done = neuroloop(command, *arguments[command])
    assert done.status == 1
    rule = f"stages.0.kind {CLOSED}, got 'evil:Stage'"
    assert rule in done.err
    assert len(done.err.splitlines()) == 1
    assert not trace.exists()
    neuroloop(command, *arguments[command], "--allow-code")
    assert trace.exists()


def test_a_bundle_of_own_stages_can_be_saved_and_is_read_with_allow_code(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path
) -> None:
    sys.path.append(str(lab))
    bundle = hostile_bundle(tmp_path / "bundle", "labcode.stages:Smooth")
    arguments = ("replay", recording, "--config", "demo", "--set", f"classifier.bundle={bundle}", "--out")
    assert neuroloop(*arguments, tmp_path / "run", "--allow-code").status == 0
    assert neuroloop(*arguments, tmp_path / "other").status == 1
    from neuroloop.config.kinds import TRUSTED

    trusted = load_bundle(bundle, code=TRUSTED)
    saved = save_bundle(tmp_path / "saved", trusted.settings, trusted.arrays, "card")
    assert saved.settings.stages[0] == trusted.settings.stages[0]


def test_prove_says_exact_and_keeps_it_for_the_run(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path
) -> None:
    done = neuroloop("check", lab / "own.yaml", "--stream", recording, "--prove")
    assert done.status == 0, done.err
    assert "proof of 'smooth': exact" in done.out
    assert neuroloop("replay", recording, "--config", lab / "own.yaml", "--out", tmp_path / "run").status == 0
    record = json.loads((tmp_path / "run" / "provenance.json").read_text("utf-8"))
    assert record["own_stages"]["smooth"]["proof"]["verdict"] == "exact"


def test_prove_refuses_a_stage_that_breaks_a_rule(neuroloop: Command, recording: Path, lab: Path) -> None:
    path = write(lab, "labcode.stages:CountsChunks")
    done = neuroloop("check", path, "--stream", recording, "--prove")
    assert done.status == 1
    rule = "stages.1.kind must hold what every stage holds, got 'countschunks': cut otherwise: values change by"
    assert rule in done.err
    assert f"{path}:" in done.err


def test_prove_without_a_stream_says_that_it_made_one(neuroloop: Command, lab: Path) -> None:
    done = neuroloop("check", lab / "own.yaml", "--prove")
    assert done.status == 0
    assert "note: no stream is known, so the proof is for a made one of 8 channels at 250 Hz" in done.err


def test_an_unproven_stage_has_no_place_next_to_a_stimulator_or_in_a_worker(
    neuroloop: Command, recording: Path, lab: Path
) -> None:
    bundle = hostile_bundle(lab / "bundle", "labcode.stages:Smooth")
    sys.path.append(str(lab))
    for config, where in (("stimulation", "next to a stimulator"), (worker_config(lab, bundle), "in a worker")):
        arguments = ("check", config, "--set", f"classifier.bundle={bundle}", "--stream", recording, "--allow-code")
        done = neuroloop(*arguments)
        assert done.status == 1
        assert f"stages.0.kind must be proven exact {where} (run 'neuroloop check CONFIG --prove" in done.err
        assert "got 'labcode.stages:Smooth', which is unproven" in done.err
    done = neuroloop(*arguments, "--prove")
    assert "proven exact" not in done.err
    assert "proof of 'own': exact" in done.out


def worker_config(lab: Path, bundle: Path) -> Path:
    path = lab / "worker.yaml"
    path.write_text(
        f"name: w\nclassifier: {{bundle: {bundle}}}\nkafka: {{bootstrap: '127.0.0.1:9'}}\nworker: {{}}\n", "utf-8"
    )
    return path
