"""``python -m benchmarks``: what it measured is shown and kept at once, and one benchmark's end is not the others'."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from benchmarks.__main__ import INTERRUPTED, NAMES, main

HEAD = """\
import os
import signal
import time
from pathlib import Path

from benchmarks.measure import LeftOut, Row

FIGURES = Path({figures!r})


def row(case, note=""):
    return Row("topic", case, 1.0, 0.1, "peer", 2.0, 0.1, 2.0, 0.1, note)


def n_rows(quick):
    return 2


def rows(quick):
"""
LOOKS = """\
yield row("first")
end = time.monotonic() + 20
while not (has_it := FIGURES.is_file() and '"first"' in FIGURES.read_text()) and time.monotonic() < end:
    time.sleep(0.002)
yield row("second", f"the first row was in the file: {has_it}, quick: {quick}")
"""
RAISES = """\
yield row("before the fault")
raise ValueError("broker must answer,\\ngot nothing")
"""
DIES = """\
yield row("before the signal")
os.kill(os.getpid(), signal.SIGKILL)
"""
FAILURES = {
    "raises": "ValueError: broker must answer, got nothing",
    "dies": "process must end by itself, got exit status -9",
    "short": "bench_short must give the 2 rows that it planned, got 1",
}
SHORT = "yield row('alone')\n"
LACKS = """\
yield LeftOut("topic", "case | peer", "No module named 'peer'")
yield row("the other")
"""
INTERRUPTS = """\
yield row("before Ctrl-C")
end = time.monotonic() + 20
while '"before Ctrl-C"' not in FIGURES.read_text() and time.monotonic() < end:
    time.sleep(0.002)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""
BODIES = {"looks": LOOKS, "raises": RAISES, "dies": DIES, "short": SHORT, "lacks": LACKS, "interrupts": INTERRUPTS}


@dataclass(frozen=True)
class Run:
    """What a run of ``main`` left."""

    status: int
    out: str
    err: str
    figures: dict[str, Any]

    def cases(self, benchmark: str) -> list[str]:
        return [row["case"] for row in self.figures["rows"] if row["benchmark"] == benchmark]


def run_of(folder: Path, *arguments: str) -> Run:
    """Run ``main`` over benchmarks that lie in a folder."""
    file = folder / "out" / "figures.json"
    for name, body in BODIES.items():
        text = HEAD.format(figures=str(file)) + indent(body, "    ")
        (folder / f"bench_{name}.py").write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            status = main(
                [*arguments, "--quick", "--out", str(file.parent)], {name: f"bench_{name}" for name in BODIES}
            )
    finally:
        sys.path.remove(str(folder))
    return Run(status, out.getvalue(), err.getvalue(), json.loads(file.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run in which nothing fails; one peer is not there."""
    return run_of(tmp_path_factory.mktemp("healthy"), "looks", "--only", "lacks")


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run in which each benchmark fails in a way of its own."""
    return run_of(tmp_path_factory.mktemp("failing"), *FAILURES)


def test_a_row_is_in_the_file_before_the_next_one_is_measured(healthy: Run) -> None:
    notes = [row["note"] for row in healthy.figures["rows"] if row["benchmark"] == "looks"]
    assert notes == ["", "the first row was in the file: True, quick: True"]


def test_each_row_is_shown_with_its_place_and_the_time(healthy: Run) -> None:
    assert re.search(r"^looks: benchmark 1 of 2, \d+:\d\d$", healthy.out, re.MULTILINE)
    assert re.search(r"^\[looks 2/2, \d+:\d\d\] topic \| second \| ", healthy.out, re.MULTILINE)


def test_a_peer_that_is_not_installed_is_a_line_and_no_failure(healthy: Run) -> None:
    assert "] topic | case | peer | left out: No module named 'peer'\n" in healthy.out
    assert [one["reason"] for one in healthy.figures["left_out"]] == ["No module named 'peer'"]
    assert healthy.cases("lacks") == ["the other"]
    assert healthy.status == 0, healthy.err
    assert healthy.figures["is_complete"]


def test_a_benchmark_that_fails_is_one_line_and_the_others_still_run(failing: Run) -> None:
    for name, error in FAILURES.items():
        assert f"\n{name}: failed, {error}\n" in f"\n{failing.err}"
    assert "Traceback" not in failing.out + failing.err
    assert failing.figures["is_complete"]


def test_a_run_with_failures_ends_in_their_names_and_a_status_of_its_own(failing: Run) -> None:
    assert failing.status == 1
    assert failing.err.endswith("\nbenchmarks: 3 of 3 failed: raises, dies, short\n")


def test_rows_measured_before_a_failure_are_kept_and_its_traceback_with_them(failing: Run) -> None:
    assert failing.cases("raises") == ["before the fault"]
    assert failing.cases("dies") == ["before the signal"]
    assert {one["benchmark"]: one["error"] for one in failing.figures["failures"]} == FAILURES
    assert "in rows" in failing.figures["failures"][0]["traceback"]


def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    try:
        run = run_of(tmp_path, "interrupts", "looks")
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.status == INTERRUPTED
    assert "benchmarks: interrupted, 1 row is in" in run.err
    assert run.cases("interrupts") == ["before Ctrl-C"]
    assert not run.figures["is_complete"]


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["filter", "--only", "filters", "--out", str(tmp_path / "out")]) == 2
    assert f"name must be one of {', '.join(NAMES)}, got 'filters'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "out")]) == 2
    assert "out must be a folder that can be written to, got" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["file"]
