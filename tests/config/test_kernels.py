"""Kernels called without the dispatcher: the same result, and what is still checked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import float64, types, void

from neuroloop.config.kernels import direct, kernel
from neuroloop.stream.contracts.chunks import FloatArray

_IN = types.Array(float64, 2, "C", readonly=True)


@kernel(void(_IN, float64[:, ::1]))
def _double(x: FloatArray, out: FloatArray) -> None:
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = 2.0 * x[i, c]


@kernel(float64(float64), types.int64(types.int64))
def _two(x: float) -> float:
    return x + x


def test_a_direct_call_gives_the_same_with_read_only_input() -> None:
    x = np.arange(6.0).reshape(2, 3)
    x.setflags(write=False)
    usual, directly = np.empty((2, 3)), np.empty((2, 3))
    _double(x, usual)
    direct(_double)(x, directly)
    np.testing.assert_array_equal(directly, usual)


def test_a_direct_call_refuses_items_of_another_size() -> None:
    with pytest.raises(TypeError, match="can't unbox array"):
        direct(_double)(np.zeros((2, 3), np.float32), np.empty((2, 3)))


def test_a_kernel_of_two_signatures_has_no_direct_call() -> None:
    with pytest.raises(ValueError, match="compiled must have one signature, got 2"):
        direct(_two)


_LAB = """
import json, sys
import numba
from numba import float64
before = numba.config.CACHE_DIR
from neuroloop.config.kernels import cache_folder, kernel

@kernel(float64(float64))
def ours(x):
    return 2.0 * x

@numba.njit(float64(float64), cache=True)
def theirs(x):
    return 3.0 * x

json.dump({
    "before": before, "after": numba.config.CACHE_DIR, "folder": str(cache_folder()),
    "ours": ours.stats.cache_path, "hits": sum(ours.stats.cache_hits.values()), "value": ours(4.0),
    "theirs": theirs.stats.cache_path,
}, sys.stdout)
"""


def _lab(folder: Path) -> dict[str, Any]:
    """Run a lab's script, which has a kernel of ours and a function of its own."""
    (folder / "lab.py").write_text(_LAB, encoding="utf-8")
    environment = {**os.environ, "NEUROLOOP_CACHE": str(folder / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "lab.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_kernels_are_kept_in_our_folder_and_numbas_settings_stay_the_users(tmp_path: Path) -> None:
    first, second = _lab(tmp_path), _lab(tmp_path)
    assert (first["before"], first["after"]) == ("", "")
    assert first["folder"].startswith(str(tmp_path / "cache" / "kernels"))
    assert Path(first["ours"]).is_relative_to(first["folder"])
    assert (first["hits"], second["hits"]) == (0, 1)
    assert first["value"] == second["value"] == 8.0
    assert Path(first["theirs"]) == tmp_path / "__pycache__"
    assert not list(Path(first["folder"]).rglob("*theirs*"))


def test_another_combination_of_types_is_refused_not_compiled() -> None:
    with pytest.raises(TypeError, match="No matching definition for argument type"):
        _double(np.zeros((2, 3), np.float32), np.empty((2, 3)))
