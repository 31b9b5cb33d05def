"""The doctor as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuroloop.stream.cli import doctor
from neuroloop.stream.tools.doctor.finding import Finding
from tests.stream.cli.conftest import Command


def test_the_quick_examination_answers_everything_but_the_network(neuroloop: Command, tmp_path: Path) -> None:
    done = neuroloop("doctor", "--quick", "--out", tmp_path / "not" / "yet")
    lines = done.out.splitlines()
    names = [line[6:].partition(":")[0] for line in lines if line[:5].strip() in ("ok", "note", "warn", "fail")]
    expected: tuple[str, ...] = (
        "python",
        "liblsl",
        "torch",
        "cpu governor",
        "cores",
        "real-time priority",
        "timer",
        "sleep",
    )
    expected += ("memory locks", "/dev/shm", "shared memory", "disk", "disk space", "kernel cache", "metrics port")
    assert set(expected) | {"lsl settings", "lsl session", "wall clock"} <= set(names)
    assert "multicast" not in names
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(("note", "warn", "fail")):
            assert after.startswith("      -> ")
    assert not list(tmp_path.iterdir())


def test_json_holds_the_same_findings(neuroloop: Command, tmp_path: Path) -> None:
    done = neuroloop("doctor", "--quick", "--json", "--out", tmp_path)
    record = json.loads(done.out)
    assert record["ok"] is (done.status == 0)
    assert {"name", "level", "found", "cure"} == set(record["findings"][0])
    assert record["elapsed_s"] > 0


@pytest.mark.parametrize(("level", "status"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_exit_status_is_1_only_when_something_fails(
    neuroloop: Command, monkeypatch: pytest.MonkeyPatch, level: str, status: int
) -> None:
    found = [Finding("x", level, "so it is", "do this")]  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "examine", lambda out, *, is_quick: iter(found))
    assert neuroloop("doctor").status == status
    assert json.loads(neuroloop("doctor", "--json").out)["ok"] is (status == 0)


def test_a_folder_that_is_a_file_fails(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    done = neuroloop("doctor", "--quick", "--out", path)
    assert done.status == 1
    assert "fail  disk" in done.out
