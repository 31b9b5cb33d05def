"""The command line in this process: quick, and every line it prints is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.cli.main import main
from neuroloop.stream.sources.simulator import Simulator
from tests.stream.sources.simulated import simulated_rows


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def neuroloop(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one command and return its exit status and output."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out, captured.err)

    return run


def write_npz(path: Path, data: np.ndarray, timestamps: np.ndarray, **extra: object) -> Path:
    """Write a recording with the keys of a dump."""
    info = Simulator(SimulatorSettings()).info
    n_channels = data.shape[1]
    keys: dict[str, object] = {
        "data": data,
        "timestamps": timestamps,
        "valid": np.ones(len(data), bool),
        "first_sample": 0,
        "channels": np.array(info.ch_names[:n_channels]),
        "sfreq": 250.0,
        "units": np.array(["uV"] * n_channels),
    }
    np.savez(path, **{**keys, **extra})  # type: ignore[arg-type]
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twenty seconds of the simulator as a file."""
    made = simulated_rows(Simulator(SimulatorSettings(seed=11, block_s=4.0)), 20.0)
    return write_npz(tmp_path / "simulated.npz", made.data, made.timestamps)
