"""Find the weights of a network: one deterministic training on one fold."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.training import OptimiserSettings
from neuroloop.models.training.network import import_torch
from neuroloop.models.training.split import Fold
from neuroloop.models.training.windows import Float32Array, IntArray, Standardiser, TrainingWindows
from neuroloop.stream.contracts.chunks import FloatArray

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with what is being done, how much of it is done, of how much, and the latest figures."""

_EVALUATION_BATCH = 512


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One training epoch of a learning curve."""

    train_epoch: int
    learning_rate: float
    train_loss: float
    stop_loss: float
    stop_macro_recall: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained network, on the fold that it was trained on.

    Parameters
    ----------
    module : torch.nn.Module
        With the weights of the best epoch.
    best_epoch : int
        Counted from 1.
    curve : tuple of CurvePoint
    """

    module: torch.nn.Module
    best_epoch: int
    curve: tuple[CurvePoint, ...]


class TrainingCancelled(Exception):
    """Another training of the same run failed or was interrupted."""


@contextmanager
def deterministic_torch() -> Iterator[Any]:
    """Give torch, held to deterministic algorithms and one thread; both are put back at the end.

    One thread each for trainings side by side is as fast as several for one after the other, loses little on a busy
    machine (two threads that wait for each other lose a factor of five) and gives the same bits on any number of cores.
    """
    torch = import_torch()
    n_threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    rng_state = torch.get_rng_state()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield torch
    finally:
        torch.set_rng_state(rng_state)
        torch.use_deterministic_algorithms(was_deterministic, warn_only=warn_only)
        torch.set_num_threads(n_threads)


def class_weights(labels: IntArray, n_classes: int, balance: float) -> FloatArray:
    """Return ``(1 / share) ** balance`` per class, scaled so that the mean weight over the labels is 1.

    Raises
    ------
    ValueError
        If a class has no label.
    """
    share = np.bincount(labels, minlength=n_classes) / len(labels)
    if not (share > 0).all():
        raise ValueError(f"every class must have training windows, got none of class {int(np.argmin(share))}")
    weights: FloatArray = share**-balance
    return weights / float((weights * share).sum())


def rate_factor(step: int, n_steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step: a straight rise, then half a cosine to zero."""
    rise = max(1, round(warmup * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise)))


def macro_recall(predicted: IntArray, labels: IntArray, n_classes: int) -> float:
    """Return the mean over the classes that occur of the share of each that was recognised."""
    recalls = [float((predicted[labels == c] == c).mean()) for c in range(n_classes) if (labels == c).any()]
    return float(np.mean(recalls))


def fit_network(
    module: torch.nn.Module,
    windows: TrainingWindows,
    fold: Fold,
    standardiser: Standardiser,
    *,
    optimiser: OptimiserSettings,
    seed: int,
    progress: Progress,
    label: str,
    cancelled: threading.Event,
) -> Fit:
    """Train on the fold's training windows and keep the weights that do best on its early-stopping windows.

    Must run inside `deterministic_torch`. The same arguments give the same weights, bit for bit, on one machine with
    one version of torch.

    Parameters
    ----------
    module : torch.nn.Module
        From `build_network`, untrained; changed in place.
    windows : TrainingWindows
        All windows; the fold says which are used.
    fold : Fold
    standardiser : Standardiser
        Fitted on the training windows only.
    optimiser : OptimiserSettings
    seed : int
        Of the order, the shifts and the gains.
    progress : callable
        Called after every training epoch.
    label : str
        Handed to ``progress``.
    cancelled : Event
        Ends the training where it is set.

    Returns
    -------
    Fit

    Raises
    ------
    TrainingCancelled
        If ``cancelled`` was set.

    References
    ----------
    .. [1] Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.
    .. [2] Polyak and Juditsky, SIAM J. Control Optim. 30(4), 838-855, 1992 (averaged weights; here exponentially).
    """
    torch = import_torch()
    torch.set_num_threads(1)  # of this thread
    rng = np.random.default_rng(seed)
    weights = list(module.parameters())
    means = [value.detach().clone() for value in weights]
    network: Any = module
    n_classes = int(network.output.out_features)
    train, stop = np.flatnonzero(fold.train), np.flatnonzero(fold.stop)
    n_batches = max(1, len(train) // optimiser.batch_size)
    n_steps = n_batches * optimiser.train_epochs
    weight = class_weights(windows.labels[train], n_classes, optimiser.balance)
    class_weight = torch.tensor(weight, dtype=torch.float32)
    loss_of = torch.nn.CrossEntropyLoss(class_weight, label_smoothing=optimiser.label_smoothing)
    search = torch.optim.AdamW(module.parameters(), lr=optimiser.learning_rate, weight_decay=optimiser.weight_decay)
    curve: list[CurvePoint] = []
    best: tuple[float, int, list[Any]] = (math.inf, 0, means)
    step = 0
    for train_epoch in range(1, optimiser.train_epochs + 1):
        module.train()
        order = rng.permutation(train)
        total, rate = 0.0, 0.0
        for batch in np.array_split(order[: n_batches * optimiser.batch_size], n_batches):
            if cancelled.is_set():
                raise TrainingCancelled(label)
            x = _drawn(windows, batch, standardiser, optimiser, rng)
            rate = optimiser.learning_rate * rate_factor(step, n_steps, optimiser.warmup)
            for group in search.param_groups:
                group["lr"] = rate
            loss = loss_of(module(torch.from_numpy(x)), torch.from_numpy(windows.labels[batch]))
            search.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), optimiser.clip_norm)
            search.step()
            step += 1
            _average(torch, means, weights, min(optimiser.averaging, step / (step + 10)))
            total += float(loss.detach())
        with _weights_of(torch, weights, means):
            scores = network_logits(module, windows, stop, standardiser)
        # without the calibration, growing confidence would hide that the order of the classes still gets better
        scores /= fit_temperature(scores, windows.labels[stop], weight)
        losses = weighted_loss(scores, windows.labels[stop], weight)
        recall = macro_recall(scores.argmax(axis=1), windows.labels[stop], n_classes)
        curve.append(CurvePoint(train_epoch, rate, total / n_batches, losses, recall))
        progress(label, train_epoch, optimiser.train_epochs, {"loss": total / n_batches, "stop_macro_recall": recall})
        if train_epoch < max(1, round(optimiser.earliest * optimiser.train_epochs)):
            continue
        if losses < best[0]:
            best = (losses, train_epoch, [mean.clone() for mean in means])
        elif train_epoch - best[1] >= optimiser.patience:
            break
    with torch.no_grad():
        for value, mean in zip(weights, best[2], strict=True):
            value.copy_(mean)
    module.eval()
    return Fit(module, best[1], tuple(curve))


def network_logits(
    module: torch.nn.Module, windows: TrainingWindows, indices: NDArray[np.int64], standardiser: Standardiser
) -> FloatArray:
    """Return the logits (n, n_classes) of unshifted windows."""
    torch = import_torch()
    module.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(indices), _EVALUATION_BATCH):
            x = standardiser.apply(windows.take(indices[start : start + _EVALUATION_BATCH]))
            parts.append(module(torch.from_numpy(x)).numpy().astype(np.float64))
    return np.concatenate(parts)


def weighted_loss(logits: FloatArray, labels: IntArray, weight: FloatArray) -> float:
    """Return the class-weighted mean negative log-likelihood."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    per_window = weight[labels]
    return float(-(per_window * log_p[np.arange(len(labels)), labels]).sum() / per_window.sum())


def fit_temperature(logits: FloatArray, labels: IntArray, weight: FloatArray) -> float:
    """Return the temperature that makes the weighted likelihood largest, to 3 decimals.

    Parameters
    ----------
    logits : array, shape (n_windows, n_classes)
        Of windows that were not trained on.
    labels : array, shape (n_windows,)
    weight : array, shape (n_classes,)

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    low, high = math.log(0.05), math.log(20.0)
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        at_left, at_right = (weighted_loss(logits / math.exp(at), labels, weight) for at in (left, right))
        low, high = (low, right) if at_left < at_right else (left, high)
    return round(math.exp((low + high) / 2.0), 3)


def _drawn(
    windows: TrainingWindows,
    batch: IntArray,
    standardiser: Standardiser,
    optimiser: OptimiserSettings,
    rng: np.random.Generator,
) -> Float32Array:
    """Return augmented, standardised windows."""
    x = windows.take(batch, rng if optimiser.shift else None)
    gain = rng.uniform(1.0 - optimiser.gain, 1.0 + optimiser.gain, len(batch)) if optimiser.gain > 0 else None
    return standardiser.apply(x, gain)


def _average(torch: Any, means: list[Any], weights: list[Any], decay: float) -> None:
    """Move the averaged weights towards the current ones, in place."""
    with torch.no_grad():
        for mean, value in zip(means, weights, strict=True):
            mean.lerp_(value, 1.0 - decay)


@contextmanager
def _weights_of(torch: Any, weights: list[Any], means: list[Any]) -> Iterator[None]:
    """Put the averaged weights in place of the current ones for a while."""
    with torch.no_grad():
        kept = [value.clone() for value in weights]
        for value, mean in zip(weights, means, strict=True):
            value.copy_(mean)
        try:
            yield
        finally:
            for value, own in zip(weights, kept, strict=True):
                value.copy_(own)
