"""Make a bundle from labelled data: the recipes' entry points.

The folder that comes out is a bundle (`neuroloop.models.bundle`) with one subfolder more, ``training``:

=====================  =================================================================================
``report.json``        the held-out figures under the same keys as an evaluation's, the split, every fold
``learning_curve.csv`` one line per fold and training epoch
``predictions.csv``    the held-out probabilities of every window, with the fold that tested it
=====================  =================================================================================

No file holds a time or a path, so that the same data, settings and versions give the same bytes.
"""

from __future__ import annotations

import csv
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.bundle import BundleInput, BundleSettings
from neuroloop.config.errors import BundleError, NeuroloopError
from neuroloop.config.stages import StageSettings, ZScoreSettings
from neuroloop.config.training import TrainSettings
from neuroloop.models.bundle import CARD_FILE, SETTINGS_FILE, WEIGHTS_FILE, save_bundle
from neuroloop.models.datasets.epileptic import INFO, read_epileptic
from neuroloop.models.metrics import report_figures
from neuroloop.models.training.card import model_card
from neuroloop.models.training.crossval import Outcome, cross_train
from neuroloop.models.training.network import import_torch, network_arrays
from neuroloop.models.training.seizure import amplitude_only, cut_rows, raw_deviations, window_ids
from neuroloop.models.training.split import ids_hash
from neuroloop.models.training.streams import LabelledStream, Material, StageBuilder, cut_windows, frozen_stages
from neuroloop.models.training.trainer import Progress
from neuroloop.stream.contracts.chunks import StreamInfo

TRAINING_FOLDER = "training"
_REPORT, _CURVE, _PREDICTIONS = "report.json", "learning_curve.csv", "predictions.csv"


def no_progress(label: str, done: int, total: int, values: Mapping[str, float]) -> None:
    """Show nothing."""


def train(
    config: TrainSettings,
    data: Path,
    out: Path,
    *,
    build_stages: StageBuilder,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train on a folder or file of the epileptic recordings and write a bundle.

    Parameters
    ----------
    config : TrainSettings
        With recipe ``seizure``.
    data : Path
        What `neuroloop.models.datasets.epileptic.read_epileptic` reads.
    out : Path
        Folder of the bundle; a bundle that is there is replaced.
    build_stages : callable
        Makes the stages of a chain for a stream.
    progress : callable
        Called after every training epoch.

    Returns
    -------
    dict
        What ``training/report.json`` holds.

    Raises
    ------
    NeuroloopError
        If torch is missing, the data are not what the recipe needs, or ``out`` holds something else.
    """
    if config.recipe == "simulator":
        raise NeuroloopError(f"recipe must be 'seizure' or your own to be trained from a folder, got {config.recipe!r}")
    check_out(out)
    import_torch()
    recordings = read_epileptic(data)
    material = cut_rows(recordings, config, build_stages)
    outcome = cross_train(config, material, progress)
    ids = window_ids(recordings, config, material)
    extra: dict[str, Any] = {}
    first_class = next(iter(config.classes))
    if config.split.folds:
        extra["amplitude_only"] = {
            "class": first_class,
            **amplitude_only(
                raw_deviations(recordings, config, material), material.windows.labels == 0, list(outcome.folds[:-1])
            ),
        }
    source = {
        "file": recordings.path.name,
        "sha256": recordings.sha256,
        "kind": recordings.kind,
        "n_recordings": len(recordings.recordings),
        "file_numbers_known": recordings.numbered,
        "recordings": [recording.name for recording in recordings.recordings],
    }
    return _write(config, INFO, material, outcome, ids, source, extra, out, stages=config.stages, any_names=True)


def train_streams(
    config: TrainSettings,
    streams: Sequence[LabelledStream],
    out: Path,
    *,
    source: Mapping[str, Any],
    build_stages: StageBuilder,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train on labelled streams in memory, such as simulated ones, and write a bundle.

    Parameters
    ----------
    config : TrainSettings
        The labels of the streams index its classes.
    streams : sequence of LabelledStream
        All of one layout.
    out : Path
        Folder of the bundle; a bundle that is there is replaced.
    source : mapping
        What the streams are, to be written into the bundle (JSON values).
    build_stages, progress : callable
        As for `train`.

    Returns
    -------
    dict
        What ``training/report.json`` holds.

    Raises
    ------
    NeuroloopError
        As for `train`; also if the streams differ in layout.
    """
    check_out(out)
    import_torch()
    if not streams or len({stream.chunk.info for stream in streams}) != 1:
        raise NeuroloopError(f"streams must be at least one and of one layout, got {len(streams)}")
    material = cut_windows(
        streams,
        config.stages,
        window_samples=config.window_samples,
        hop_samples=config.hop_samples,
        build_stages=build_stages,
    )
    outcome = cross_train(config, material, progress)
    ids = [f"{streams[int(s)].group}:{int(end)}" for s, end in zip(material.streams, material.ends, strict=True)]
    info = streams[0].chunk.info
    stages = frozen_stages(config.stages, info, build_stages)
    return _write(config, info, material, outcome, ids, dict(source), {}, out, stages=stages, any_names=False)


def check_out(out: Path) -> None:
    """Refuse a place for a bundle that holds something else, before hours of work.

    Raises
    ------
    BundleError
        If ``out`` is a file, or a folder with anything but a bundle in it.
    """
    if not out.exists():
        return
    known = {WEIGHTS_FILE, SETTINGS_FILE, CARD_FILE, TRAINING_FOLDER}
    foreign = sorted({path.name for path in out.iterdir()} - known) if out.is_dir() else [out.name]
    if foreign:
        raise BundleError(f"out must be new, empty or a bundle, got {str(out)!r} with {', '.join(foreign)}")


def versions() -> dict[str, str]:
    """Return the versions that the weights depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "numba", "torch")}}


def _write(
    config: TrainSettings,
    info: StreamInfo,
    material: Material,
    outcome: Outcome,
    ids: list[str],
    source: dict[str, Any],
    extra: dict[str, Any],
    out: Path,
    *,
    stages: tuple[StageSettings, ...],
    any_names: bool,
) -> dict[str, Any]:
    """Write bundle, model card and records."""
    classes = tuple(config.classes)
    figures = report_figures(outcome.probabilities, material.windows.labels[outcome.tested], classes)
    report = {**figures, **_account(config, material, outcome, ids, source), **extra}
    if config.standardise:
        mean, std = outcome.standardiser.mean.tolist(), outcome.standardiser.std.tolist()
        stages = (*stages, ZScoreSettings(kind="zscore", name="standardise", mean=tuple(mean), std=tuple(std)))
    settings = BundleSettings(
        name=config.name,
        classes=classes,
        input=BundleInput(sfreq=info.sfreq, ch_names=info.ch_names, ch_units=info.ch_units, any_names=any_names),
        stages=stages,
        window_samples=config.window_samples,
        hop_samples=config.hop_samples,
        network=outcome.network,
        temperature=outcome.temperature,
        decision=config.decision,
        sha256="",
        training=report,
    )
    records = out / TRAINING_FOLDER
    if records.is_dir():
        shutil.rmtree(records)
    save_bundle(out, settings, network_arrays(outcome.network, outcome.module), model_card(settings))
    records.mkdir()
    (records / _REPORT).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _write_curve(records / _CURVE, outcome)
    _write_predictions(records / _PREDICTIONS, config, material, outcome, ids)
    return report


def _account(
    config: TrainSettings, material: Material, outcome: Outcome, ids: list[str], source: dict[str, Any]
) -> dict[str, Any]:
    """Say how the figures came about."""
    windows = material.windows
    keys = [f"{group}/{row}" for group, row in zip(windows.groups, ids, strict=True)]
    folds = []
    for index, (fold, fit) in enumerate(zip(outcome.folds, outcome.fits, strict=True)):
        entry: dict[str, Any] = {
            "test_block": fold.label,
            "stop_block": fold.stop_label,
            "n_train": int(fold.train.sum()),
            "n_stop": int(fold.stop.sum()),
            "n_test": int(fold.test.sum()),
            "seed": config.optimiser.seed + index,
            "best_train_epoch": fit.best_epoch,
            "train_epochs": len(fit.curve),
        }
        own = outcome.fold_of == index
        if fold.test.any():
            part = report_figures(
                outcome.probabilities[own], windows.labels[outcome.tested[own]], tuple(config.classes)
            )
            entry |= {key: part[key] for key in ("accuracy", "macro_recall", "recall")}
        folds.append(entry)
    return {
        "data": source,
        "split": {
            "unit": "block",
            "means": "contiguous blocks of recordings held out whole; figures pooled over all test blocks"
            if config.split.folds
            else "no test block; figures are of the early-stopping block and flatter",
            "block_size": config.split.block_size,
            "stop_size": config.split.stop_size,
            "n_windows": len(windows),
            "n_groups": len(np.unique(windows.groups)),
            "ids_sha256": ids_hash(keys),
        },
        "folds": folds[:-1],
        "final": folds[-1],
        "temperature": outcome.temperature,
        "optimiser": config.optimiser.model_dump(mode="json"),
        "classes_of_labels": {name: list(members) for name, members in config.classes.items()},
        "recipe": config.recipe,
        "versions": versions(),
    }


def _write_curve(path: Path, outcome: Outcome) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["test_block", "train_epoch", "learning_rate", "train_loss", "stop_loss", "stop_macro_recall"])
        for fold, fit in zip(outcome.folds, outcome.fits, strict=True):
            writer.writerows([fold.label, *asdict(point).values()] for point in fit.curve)


def _write_predictions(path: Path, config: TrainSettings, material: Material, outcome: Outcome, ids: list[str]) -> None:
    classes = list(config.classes)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "test_block", "truth", "label", *(f"p_{name}" for name in classes)])
        for index, fold, row in zip(outcome.tested, outcome.fold_of, outcome.probabilities, strict=True):
            truth = classes[int(material.windows.labels[index])]
            predicted = classes[int(row.argmax())]
            block = outcome.folds[int(fold)].label if fold >= 0 else "stop"
            writer.writerow([ids[int(index)], block, truth, predicted, *row.tolist()])
