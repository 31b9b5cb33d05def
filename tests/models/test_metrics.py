from __future__ import annotations

import math

import numpy as np
import pytest

from neuroloop.models.metrics import calibration_error, confusion_matrix, report_figures

CLASSES = ("a", "b", "c")


def certain(predicted: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return 0.1 * np.ones((len(predicted), 3)) + 0.7 * np.eye(3)[predicted]


def test_rows_of_the_confusion_are_the_truth() -> None:
    matrix = confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 2, 2, 1]), 3)
    assert matrix.tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 0]]


def test_figures_are_those_of_a_hand_count() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    figures = report_figures(certain([0, 0, 0, 1, 1, 2, 2, 2, 2, 0]), labels, CLASSES)
    assert figures["n"] == 10
    assert figures["confusion"] == [[3, 1, 0], [0, 1, 1], [1, 0, 3]]
    assert figures["accuracy"] == pytest.approx(0.7)
    assert figures["recall"] == {"a": 0.75, "b": 0.5, "c": 0.75}
    assert figures["macro_recall"] == pytest.approx(2 / 3)
    assert figures["precision"] == {"a": 0.75, "b": 0.5, "c": 0.75}
    assert figures["f1"] == {"a": 0.75, "b": 0.5, "c": 0.75}
    assert figures["support"] == {"a": 4, "b": 2, "c": 4}
    by_chance = (4 * 4 + 2 * 2 + 4 * 4) / 100
    assert figures["kappa"] == pytest.approx((0.7 - by_chance) / (1 - by_chance))
    assert figures["nll"] == pytest.approx(-(7 * math.log(0.8) + 3 * math.log(0.1)) / 10)
    right, wrong = 0.2**2 + 2 * 0.1**2, 0.9**2 + 0.8**2 + 0.1**2
    assert figures["brier"] == pytest.approx((7 * right + 3 * wrong) / 10)


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    figures = report_figures(certain([0, 1]), np.array([0, 0]), CLASSES)
    assert figures["recall"] == {"a": 0.5, "b": None, "c": None}
    assert figures["macro_recall"] == 0.5
    assert figures["precision"] == {"a": 1.0, "b": 0.0, "c": None}


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.25], (600, 1))
    labels = np.tile([0, 0, 0, 1], 150)
    assert calibration_error(probabilities, labels) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(probabilities, 1 - labels) == pytest.approx(0.5)


def test_nothing_to_count_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities must be \(n > 0, 3\) with n labels, got \(0, 3\)"):
        report_figures(np.empty((0, 3)), np.empty(0, np.int64), CLASSES)
