"""The public names: what they are, and what importing them does not do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neuroloop
from tests.conftest import CHECKOUT


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_alone_loads_nothing_heavy() -> None:
    heavy = {"numpy", "numba", "pydantic", "yaml", "scipy", "pylsl", "pandas", "mne"}
    out = _run(f"import sys, neuroloop; dir(neuroloop); print({heavy!r} & set(sys.modules))")
    assert out.strip() == "set()"


def test_arrays_need_neither_lsl_nor_kafka_nor_pandas() -> None:
    missing = ("pylsl", "kafka", "aiokafka", "faust", "pandas", "mne", "torch", "matplotlib")
    code = f"""
import sys; sys.modules.update(dict.fromkeys({missing!r}))
import numpy as np, neuroloop as nl
with nl.open_pipeline("monitor", sfreq=250, units="uV") as pipeline:
    print(len(pipeline.push(np.zeros((1000, 2))).outputs["bandpower"]))
"""
    assert int(_run(code)) > 0


@pytest.mark.parametrize("name", sorted(neuroloop.__all__))
def test_every_name_is_there(name: str) -> None:
    assert name in dir(neuroloop)
    assert getattr(neuroloop, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'neuroloop' has no attribute 'open_pipelines'$"):
        neuroloop.open_pipelines  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    tree = ast.parse((CHECKOUT / "neuroloop" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    seen: dict[str, str] = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            seen.update({str(alias.asname): str(node.module) for alias in node.names})
    assert seen == neuroloop._HOMES
    assert (CHECKOUT / "neuroloop" / "py.typed").is_file()


def test_nothing_of_the_program_imports_the_face() -> None:
    face = {f"neuroloop.{path.stem}" for path in (CHECKOUT / "neuroloop").glob("*.py")} - {"neuroloop.__init__"}
    found = []
    for room in ("config", "stream", "processors", "models", "sinks"):
        for path in (CHECKOUT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [f"{_short(path)}: {name}" for name in names if name == "neuroloop" or name in face]
    assert found == []


def _short(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()
