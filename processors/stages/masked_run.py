"""Run a stage on a CPU that has fewer features, in a process of its own: ``python -m`` this module.

It imports the stage and what every stage needs, not the registry: all kernels would be compiled for that CPU.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.kernels import cache_folder
from neuroloop.config.settings import Settings
from neuroloop.processors.stages.own_stage import build_own_stage
from neuroloop.processors.stages.proof import ProofFailed
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo, make_chunk

_PATIENCE_S = 600.0
_LIBC = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX2,-AVX,-FMA,-ERMS"


def masked_environment() -> dict[str, str]:
    """Return what makes a process use no feature that a CPU of 2008 lacks: in NumPy, in the C library, in kernels."""
    umath = importlib.import_module("numpy._core._multiarray_umath")
    features = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    return {
        "GLIBC_TUNABLES": _LIBC,
        "NPY_DISABLE_CPU_FEATURES": " ".join(features),
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
        "NEUROLOOP_CACHE": str(cache_folder().parent.parent / "masked-cpu"),
    }


def run_masked(stage: type[Any], settings: Settings, info: StreamInfo, chunk: Chunk) -> Chunk:
    """Return what a stage gives out on a CPU with fewer features.

    Raises
    ------
    ProofFailed
        If the stage cannot be run in another process.
    """
    arrays = (np.array(chunk.data), np.array(chunk.timestamps), chunk.first_sample, np.array(chunk.valid))
    told = (stage.__module__, stage.__qualname__, settings.model_dump(), info, arrays)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=pickle.dumps((list(sys.path), pickle.dumps(told))),
        env=os.environ | masked_environment() | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise ProofFailed(f"the stage must run in another process, got: {lines[-1]}")
    data, timestamps, first_sample, valid, out_info = pickle.loads(done.stdout)  # noqa: S301 - of our own process
    return make_chunk(data, timestamps, first_sample, valid, out_info)


def main() -> None:
    """Read a stage and a chunk, write the rows."""
    path, told = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - `run_masked` has written it
    sys.path[:] = path
    module, name, values, info, (data, timestamps, first_sample, valid) = pickle.loads(told)  # noqa: S301 - the same
    from neuroloop.config.stages import stage_settings_type

    stage: Any = importlib.import_module(module)
    for part in name.split("."):
        stage = getattr(stage, part)
    settings = stage_settings_type(stage, str(values["kind"])).model_validate(values)
    made = build_own_stage(stage, settings, info)
    rows, stamps, flags = np.empty(data.shape), np.empty(len(data)), np.empty(len(data), np.bool_)
    rows[:], stamps[:], flags[:] = data, timestamps, valid  # what came through a pipe has other objects for its types
    out = made.process(make_chunk(rows, stamps, first_sample, flags, info))
    answer = (np.array(out.data), np.array(out.timestamps), out.first_sample, np.array(out.valid), out.info)
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    main()
