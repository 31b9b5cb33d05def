"""A tiny made-up data set in the layout of the epileptic rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.stages import StageSettings
from neuroloop.config.training import TrainSettings
from neuroloop.processors.stages.registry import build_stage
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor

HEADER = ["Unnamed", *(f"X{k}" for k in range(1, 179)), "y"]
SETS = {1: "S", 2: "F", 3: "N", 4: "O", 5: "Z"}
N_CHUNKS = 3


def build_stages(settings: tuple[StageSettings, ...], info: StreamInfo) -> list[Processor]:
    stages: list[Processor] = []
    for one in settings:
        stages.append(build_stage(one, info))
        info = stages[-1].info_out
    return stages


def made_up_signal(label: int, number: int, n_samples: int) -> NDArray[np.float64]:
    """Whole numbers; seizures are large, the epileptogenic zone is slow, the rest is small noise."""
    rng = np.random.default_rng(100 * label + number)
    time = np.arange(n_samples) / 173.61
    signal = 20.0 * rng.standard_normal(n_samples)
    if label == 1:
        signal += 300.0 * np.sin(2 * np.pi * 5.0 * time + rng.uniform(0, 6))
    if label == 2:
        signal += 80.0 * np.sin(2 * np.pi * 20.0 * time + rng.uniform(0, 6))
    return np.round(signal)


def write_rows(path: Path, numbers: Iterable[int], *, labels: Iterable[int] = (1, 2, 3, 4, 5), seed: int = 5) -> None:
    rows = []
    for label in labels:
        for number in numbers:
            signal = made_up_signal(label, number, 178 * N_CHUNKS)
            for c in range(N_CHUNKS):
                values = signal[178 * c : 178 * (c + 1)].astype(int).tolist()
                rows.append([f"X{c + 1}.V1.{number}", *values, label])
    order = np.random.default_rng(seed).permutation(len(rows))
    write_table(path, [rows[int(index)] for index in order])


def write_table(path: Path, rows: Iterable[list[object]], header: list[str] = HEADER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_map(path: Path, numbers: Iterable[int], *, shift: int = 0) -> None:
    numbers = list(numbers)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", "uci_source_id", "y"])
        for label, letter in SETS.items():
            writer.writerows([f"{letter}{number + shift:03d}", f"V1.{number}", label] for number in numbers)


def tiny_settings(**changes: object) -> TrainSettings:
    values: dict[str, object] = {
        "recipe": "seizure",
        "lstm": [{"hidden": 6, "bidirectional": True}],
        "head": [{"units": 4}],
        "optimiser": {"train_epochs": 20, "batch_size": 16, "learning_rate": 0.03, "averaging": 0.5},
        "split": {"block_size": 2, "stop_size": 1},
    }
    return TrainSettings.model_validate({**values, **changes})
