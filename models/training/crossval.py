"""Train once per fold and once for the bundle; collect what was predicted of windows never trained on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuroloop.config.bundle import NetworkSettings
from neuroloop.config.errors import RecordingError
from neuroloop.config.training import TrainSettings
from neuroloop.models.training.network import build_network
from neuroloop.models.training.split import Fold, block_folds, final_fold
from neuroloop.models.training.streams import Material
from neuroloop.models.training.trainer import (
    Fit,
    Progress,
    class_weights,
    deterministic_torch,
    fit_network,
    fit_temperature,
    network_logits,
)
from neuroloop.models.training.windows import GainRule, IntArray, Standardiser, TrainingWindows
from neuroloop.stream.contracts.chunks import FloatArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training gave.

    Parameters
    ----------
    network : NetworkSettings
    module : torch.nn.Module
        The bundle's own network.
    standardiser : Standardiser
        Its mean and deviation.
    temperature : float
    folds : tuple of Fold
        The held-out folds, empty if none were asked for; then the bundle's own.
    fits : tuple of Fit
        One per fold, in the same order.
    tested : array of int
        Windows with a held-out prediction, in order.
    probabilities : array, shape (len(tested), n_classes)
        Each by the network that was trained without that window's block, calibrated.
    fold_of : array of int, shape (len(tested),)
        Index of the fold that tested the window; -1 for the early-stopping block of the bundle's own training.
    """

    network: NetworkSettings
    module: torch.nn.Module
    standardiser: Standardiser
    temperature: float
    folds: tuple[Fold, ...]
    fits: tuple[Fit, ...]
    tested: IntArray
    probabilities: FloatArray
    fold_of: IntArray


def softmax(logits: FloatArray) -> FloatArray:
    """Return the class probabilities of rows of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return normalised


def cross_train(settings: TrainSettings, material: Material, progress: Progress) -> Outcome:
    """Train on every fold and then the bundle's own network.

    The temperature is fitted on all held-out logits. Without folds, the early-stopping block of the bundle's own
    training stands in, which flatters: the number of training epochs was chosen on it.

    Parameters
    ----------
    settings : TrainSettings
    material : Material
    progress : callable

    Returns
    -------
    Outcome

    Raises
    ------
    RecordingError
        If there are too few blocks, or a fold lacks a class.
    """
    windows = material.windows
    network = NetworkSettings(
        n_features=windows.rows.shape[1],
        lstm=settings.lstm,
        pooling=settings.pooling,
        head=settings.head,
        n_classes=len(settings.classes),
    )
    held_out = block_folds(material.numbers, settings.split) if settings.split.folds else []
    folds = [*held_out, final_fold(material.numbers, settings.split)]
    for fold in folds:
        _check_classes(fold, windows.labels, list(settings.classes))
    with deterministic_torch():
        standardisers = [_standardiser(settings, material, fold) for fold in folds]
        fits = _fit_all(settings, network, windows, folds, standardisers, progress)
        if held_out:
            parts = [np.flatnonzero(fold.test) for fold in held_out]
            tested, fold_of = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            logits = [
                network_logits(fit.module, windows, part, standardiser)
                for fit, part, standardiser in zip(fits, parts, standardisers, strict=False)
            ]
            scores = np.concatenate(logits)
        else:
            tested = np.flatnonzero(folds[-1].stop)
            fold_of = np.full(len(tested), -1)
            scores = network_logits(fits[-1].module, windows, tested, standardisers[-1])
    weight = class_weights(windows.labels, network.n_classes, settings.optimiser.balance)
    temperature = fit_temperature(scores, windows.labels[tested], weight)
    order = np.argsort(tested, kind="stable")
    return Outcome(
        network,
        fits[-1].module,
        standardisers[-1],
        temperature,
        tuple(folds),
        tuple(fits),
        tested[order],
        softmax(scores[order] / temperature),
        fold_of[order].astype(np.int64),
    )


def _fit_all(
    settings: TrainSettings,
    network: NetworkSettings,
    windows: TrainingWindows,
    folds: Sequence[Fold],
    standardisers: Sequence[Standardiser],
    progress: Progress,
) -> list[Fit]:
    """Train all folds, some side by side; the first failure ends the others."""
    optimiser = settings.optimiser
    seeds = [optimiser.seed + index for index in range(len(folds))]
    modules = [build_network(network, optimiser.dropout, seed) for seed in seeds]
    cancelled, lock = threading.Event(), threading.Lock()

    def report(label: str, done: int, total: int, values: Mapping[str, float]) -> None:
        with lock:
            progress(label, done, total, values)

    def fit(index: int) -> Fit:
        return fit_network(
            modules[index],
            windows,
            folds[index],
            standardisers[index],
            optimiser=optimiser,
            seed=seeds[index],
            progress=report,
            label="bundle" if index == len(folds) - 1 else f"fold {index + 1}/{len(folds) - 1}",
            cancelled=cancelled,
        )

    with ThreadPoolExecutor(settings.optimiser.workers) as pool:
        futures = [pool.submit(fit, index) for index in range(len(folds))]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future.exception() for future in futures if future.done() and future.exception() is not None]
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        if failed and failed[0] is not None:
            cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise failed[0]
    return [future.result() for future in futures]


def _standardiser(settings: TrainSettings, material: Material, fold: Fold) -> Standardiser:
    rule = GainRule.of(settings.stages)
    if not settings.standardise:
        return Standardiser.identity(material.windows.rows.shape[1], rule)
    return Standardiser.fit(material.windows, fold.train, rule)


def _check_classes(fold: Fold, labels: IntArray, classes: list[str]) -> None:
    """Refuse a fold in which a class has nothing to train on, or nothing to stop on."""
    for what, chosen in (("training", fold.train), ("early-stopping", fold.stop)):
        for index, name in enumerate(classes):
            if not (labels[chosen] == index).any():
                raise RecordingError(
                    f"data must have {what} windows of class {name!r} beside test block {fold.label} and "
                    f"early-stopping block {fold.stop_label}, got none"
                )
