"""Sinks, sources and policies of a lab's own: code that nobody named on the command line is never taken."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroloop.stream.contracts.events import canonical
from tests.stream.cli.conftest import Command

DEMO = Path(__file__).resolve().parents[3] / "models" / "bundles" / "demo"
CLOSED = "must be a known kind (code is taken from here only with --allow-code or NEUROLOOP_ALLOW_CODE=1), got"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a module that leaves a trace when it is imported; it can be imported from anywhere."""
    folder = tmp_path / "lab"
    folder.mkdir()
    trace = folder / "was-here"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Thing: ...\n", "utf-8")
    monkeypatch.delenv("NEUROLOOP_ALLOW_CODE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    yield folder
    sys.modules.pop("evil", None)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"decision": {"kind": "evil:Thing"}, "classifier": {"bundle": "demo"}}, "decision.kind"),
        ({"sinks": [{"kind": "evil:Thing"}]}, "sinks.0.kind"),
        ({"source": {"kind": "evil:Thing"}}, "source.kind"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "check", "run"])
def test_a_hostile_run_folder_is_refused_in_one_line(
    neuroloop: Command, lab: Path, tmp_path: Path, command: str, section: dict[str, Any], path: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "provenance.json").write_text("{}", "utf-8")
    (run / "config.yaml").write_text(yaml.safe_dump({"name": "own", **section}), "utf-8")
    arguments: dict[str, tuple[object, ...]] = {
        "replay": (run, "--out", tmp_path / "again"),
        "check": (run / "config.yaml",),
        "run": (run / "config.yaml", "--set", "source.resolve_s=0.1"),
    }
    done = neuroloop(command, *arguments[command])
    assert done.status == 1
    assert done.err.splitlines()[0].endswith(f"{path} {CLOSED} 'evil:Thing'")
    assert len(done.err.splitlines()) == 1
    assert not (lab / "was-here").exists()
    assert "evil" not in sys.modules
    done = neuroloop(command, *arguments[command], "--allow-code")
    assert "must be a known kind" not in done.err
    assert (lab / "was-here").exists()


@pytest.mark.parametrize("command", ["check", "replay", "evaluate"])
def test_a_hostile_policy_of_a_bundle_is_refused_in_one_line(
    neuroloop: Command, recording: Path, lab: Path, tmp_path: Path, command: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(DEMO, bundle)
    record = json.loads((bundle / "model.json").read_text("utf-8"))
    record["decision"] = {"kind": "evil:Thing"}
    (bundle / "model.json").write_text(json.dumps(record), "utf-8")
    of_bundle = ("--set", f"classifier.bundle={bundle}")
    arguments: dict[str, tuple[object, ...]] = {
        "check": ("demo", *of_bundle),
        "replay": (recording, "--config", "demo", *of_bundle, "--out", tmp_path / "out"),
        "evaluate": (bundle, recording, "--out", tmp_path / "out"),
    }
    done = neuroloop(command, *arguments[command])
    assert done.status == 1
    assert f"decision.kind {CLOSED} 'evil:Thing'" in done.err
    assert len(done.err.splitlines()) == 1
    assert not (lab / "was-here").exists()
    assert "evil" not in sys.modules
    neuroloop(command, *arguments[command], "--allow-code")
    assert (lab / "was-here").exists()


def test_the_blocks_of_the_page_are_the_files_whose_tests_run() -> None:
    root = Path(__file__).resolve().parents[3]
    page = (root / "docs" / "your-own-source-and-sink.md").read_text("utf-8")
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", page, re.DOTALL)
    files = ("mylab_io/udp.py", "mylab_io/lines.py", "doors.yaml", "mylab_io/policy.py", "policy.yaml")
    assert len(blocks) == len(files)
    for (language, block), file in zip(blocks, files, strict=True):
        text = (root / "examples" / "own_source_and_sink" / file).read_text("utf-8")
        assert block == (text if language == "yaml" else text.split('"""\n\n', 1)[1])


def test_the_pages_configurations_are_checked(neuroloop: Command, recording: Path) -> None:
    folder = Path(__file__).resolve().parents[3] / "examples" / "own_source_and_sink"
    assert neuroloop("check", folder / "doors.yaml", "--stream", recording).status == 0
    done = neuroloop("check", folder / "policy.yaml")
    assert done.status == 0, done.err
    assert "policy of your own: mylab_io.policy:Steady, code " in done.out


@pytest.mark.parametrize("asked", [True, False])
def test_a_replay_tells_the_sinks_only_where_it_is_asked_to(
    neuroloop: Command, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(DEMO.parents[2] / "examples" / "own_source_and_sink")])
    config, told = tmp_path / "own.yaml", tmp_path / "told.txt"
    sinks = [{"kind": "mylab_io.lines:Lines", "path": str(told)}]
    stages = [{"kind": "artifacts", "gradient": {"limit": 1.0}}]
    config.write_text(yaml.safe_dump({"name": "own", "stages": stages, "sinks": sinks}), "utf-8")
    out = tmp_path / "run"
    done = neuroloop("replay", recording, "--config", config, "--out", out, *(["--sinks"] if asked else []))
    assert done.status == 0, done.err
    events = [json.loads(line) for line in (out / "events.jsonl").read_text("utf-8").splitlines()]
    assert told.exists() == asked
    assert ("sinks" in json.loads((out / "summary.json").read_text("utf-8"))) == asked
    assert "mylab_io" in (out / "config.yaml").read_text("utf-8") or not asked
    if asked:
        assert told.read_text("utf-8").splitlines() == [canonical(event) for event in events]
