"""The page for Python and the notebooks: every line of code runs as it stands there."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroloop as nl
from tests.conftest import CHECKOUT
from tests.face.senders import sending
from tests.integration import lsl

PAGE, README = CHECKOUT / "docs" / "library.md", CHECKOUT / "README.md"
NOTEBOOKS = CHECKOUT / "examples" / "notebooks"


def snippets(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def cells(name: str) -> list[str]:
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def execute(pieces: list[str], where: str) -> dict[str, Any]:
    """Run pieces of code one after the other in one namespace, as a notebook does."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, piece in enumerate(pieces):
        exec(compile(piece, f"{where}[{number}]", "exec"), names)
    return names


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let live examples run on where a machine that is full has given them nothing yet."""
    run = nl.Pipeline.run

    def until_there_is_something(self: nl.Pipeline, seconds: float | None = None) -> nl.Result:
        end = time.perf_counter() + lsl.DEADLINE_S
        result = run(self, seconds)
        while not all(map(len, result.outputs.values())) and time.perf_counter() < end:
            result = run(self, seconds)
        return result

    monkeypatch.setattr(nl.Pipeline, "run", until_there_is_something)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recording in it, in which the examples run."""
    rows = "".join(f"{k / 250},{k % 7},{k % 5}\n" for k in range(1500))
    (tmp_path / "night.csv").write_text("time,C3,C4\n" + rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("patient")
def test_the_page_for_python_runs(desk: Path) -> None:
    pytest.importorskip("mne")
    pieces = snippets(PAGE)
    if not _has("pandas"):
        pieces = [piece for piece in pieces if "to_pandas" not in piece]
    signal = np.random.default_rng(4).normal(size=(2500, 2))
    with warnings.catch_warnings(), sending("MyAmp", signal, labels=("C3", "C4")):
        warnings.simplefilter("ignore", DeprecationWarning)  # of MNE's own imports
        names = execute(pieces, "docs/library.md")
    assert names["table"].shape[1] == 2 if "table" in names else not _has("pandas")
    assert len(names["result"].outputs["bandpower"]) > 0
    assert (desk / "runs" / "night" / "events.jsonl").is_file()
    assert "# <Output power: 31 rows x 2 channels, 10 Hz>" in PAGE.read_text(encoding="utf-8")
    assert repr(names["power"]) == "<Output power: 31 rows x 2 channels, 10 Hz>"


@pytest.mark.usefixtures("desk")
def test_the_five_lines_of_the_readme_run() -> None:
    names = execute(snippets(README), "README.md")
    assert names["result"].states


@pytest.mark.usefixtures("desk")
def test_the_notebook_of_an_array_runs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        names = execute(cells("array.ipynb"), "array.ipynb")
    assert {event.values["state"] for event in names["states"]} >= {"rest", "alpha"}


@pytest.mark.usefixtures("patient", "desk")
def test_the_notebook_of_a_live_stream_runs() -> None:
    pieces = [
        piece.replace("SECONDS = 10", "SECONDS = 3").replace("seconds=2)", "seconds=0.5)")
        for piece in cells("live.ipynb")
    ]
    assert any("SECONDS = 3" in piece for piece in pieces)
    names = execute([piece.replace('"ExampleAmp"', f'"ExampleAmp-{os.getpid()}"') for piece in pieces], "live.ipynb")
    assert len(names["result"].outputs["bandpower"]) > 0
    assert not names["amplifier"].is_alive()


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


def _has(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True
