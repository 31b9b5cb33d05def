"""What a classifier is worth: confusion, per-class figures, agreement, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray

IntArray = NDArray[np.int64]

N_BINS = 15
"""Equal-mass bins of the calibration error."""


def confusion_matrix(labels: IntArray, predicted: IntArray, n_classes: int) -> IntArray:
    """Count (truth, prediction) pairs: rows are the truth, columns the prediction."""
    matrix = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def calibration_error(probabilities: FloatArray, labels: IntArray) -> float:
    """Return the expected calibration error of the most probable class, over bins of equal mass.

    Parameters
    ----------
    probabilities : array, shape (n, n_classes)
    labels : array, shape (n,)

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017; equal-mass bins after Nguyen and O'Connor,
       EMNLP 2015.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    error = 0.0
    for part in np.array_split(order, min(N_BINS, len(order))):
        error += len(part) * abs(float(confidence[part].mean()) - float(correct[part].mean()))
    return error / len(order)


def report_figures(probabilities: FloatArray, labels: IntArray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of ``report.json`` as plain values.

    Recall and precision of a class that does not occur, or is never predicted, are ``None``; the means are over the
    classes that have one.

    Parameters
    ----------
    probabilities : array, shape (n, n_classes)
        Rows sum to 1; the prediction is the most probable class.
    labels : array, shape (n,)
        Class index of each row.
    classes : sequence of str
        Names, in the order of the columns.

    Returns
    -------
    dict
        ``n``, ``accuracy``, ``macro_recall``, ``recall``, ``precision``, ``f1`` and ``support`` by class, ``macro_f1``,
        ``kappa`` (Cohen), ``confusion`` (rows: truth, columns: prediction, in the order of ``classes``), ``nll``,
        ``brier`` (sum over classes), ``ece``.

    Raises
    ------
    ValueError
        If there is no row.
    """
    n = len(labels)
    if n == 0 or probabilities.shape != (n, len(classes)):
        raise ValueError(f"probabilities must be (n > 0, {len(classes)}) with n labels, got {probabilities.shape!r}")
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
    hits, truth, said = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall = [_ratio(hit, total) for hit, total in zip(hits, truth, strict=True)]
    precision = [_ratio(hit, total) for hit, total in zip(hits, said, strict=True)]
    f1 = [_ratio(2 * hit, a + b) for hit, a, b in zip(hits, truth, said, strict=True)]
    accuracy = float(hits.sum() / n)
    by_chance = float((truth * said).sum() / n**2)
    one_hot = np.eye(len(classes))[labels]
    own = probabilities[np.arange(n), labels]
    return {
        "n": n,
        "classes": list(classes),
        "accuracy": accuracy,
        "macro_recall": _mean(recall),
        "recall": dict(zip(classes, recall, strict=True)),
        "precision": dict(zip(classes, precision, strict=True)),
        "f1": dict(zip(classes, f1, strict=True)),
        "macro_f1": _mean(f1),
        "support": {name: int(count) for name, count in zip(classes, truth, strict=True)},
        "kappa": _ratio(accuracy - by_chance, 1.0 - by_chance),
        "confusion": matrix.tolist(),
        "nll": float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "ece": calibration_error(probabilities, labels),
    }
