"""``neuroloop soak``, short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuroloop.stream.cli.main import main
from tests.integration.live import SHARING, Start

pytestmark = pytest.mark.usefixtures("lsl_session")


@pytest.mark.slow
def test_a_soak_of_the_demo_balances_its_books_and_keeps_its_memory_flat(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "soak"
    program = start("soak", "demo", "--seconds", 20, "--set", "process.ring_s=4", "--out", out, *SHARING)
    status, table, err = program.finish()
    record = json.loads((out / "soak.json").read_text(encoding="utf-8"))
    passed = {check["name"]: check["passed"] for check in record["checks"]}
    has_length = passed.pop("length")  # a busy machine may be behind at the end
    assert passed == dict.fromkeys(
        ("ended", "books", "missing", "rings", "sinks",
         "memory of supervisor", "memory of amplifier", "memory of hot", "memory of cold"), True,
    ), err  # fmt: skip
    assert record["passed"] is has_length is ("FAILED" not in table) is (status == 0)
    assert record["memory"]["hot"]


def test_a_soak_too_short_to_judge_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", "demo", "--seconds", "20"]) == 1
    assert capsys.readouterr().err == "neuroloop soak: seconds must be at least 43 (process.ring_s + 13), got 20.0\n"
