from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.bundle import BundleInput, BundleSettings, LstmLayer, NetworkSettings
from neuroloop.config.errors import BundleError, RecordingError
from neuroloop.config.stages import LogVarianceSettings
from neuroloop.models.bundle import save_bundle
from neuroloop.models.evaluation import evaluate
from neuroloop.models.lstm.weights import expected_tensors
from tests.models.datasets.epileptic_files import HEADER, build_stages, write_rows, write_table

CLASSES = ("seizure", "rest")
LIMIT = 2 * math.log(100.0)


def save_threshold_bundle(folder: Path, training: dict[str, object], hop: int = 1) -> None:
    """A network of one unit that says ``seizure`` where the log-variance is above `LIMIT`: computed by hand below.

    The input gate and the output gate are open, the cell gate is ``tanh(4 * (logvar - LIMIT))`` and the logits are
    ``+-5 * hidden``.
    """
    network = NetworkSettings(n_features=1, lstm=(LstmLayer(hidden=1),), n_classes=2)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in expected_tensors(network).items()}
    arrays["lstm.0.forward.weight_ih"][2, 0] = 4.0
    arrays["lstm.0.forward.bias_ih"][:] = (20.0, 0.0, -4.0 * LIMIT, 20.0)
    arrays["output.weight"][:] = [[5.0], [-5.0]]
    settings = BundleSettings(
        name="threshold",
        classes=CLASSES,
        input=BundleInput(sfreq=173.61, ch_names=("EEG",), ch_units=("uV",), any_names=True),
        stages=(LogVarianceSettings(kind="logvar", window_samples=178, hop_samples=178),),
        window_samples=1,
        hop_samples=hop,
        network=network,
        sha256="",
        training=training,
    )
    save_bundle(folder, settings, arrays, "# card\n")


LABELS: dict[str, object] = {"classes_of_labels": {"seizure": [1], "rest": [2, 3, 4, 5]}}


def wave(amplitude: float) -> list[int]:
    """One row whose standard deviation is the amplitude."""
    return [round(amplitude) if k % 2 else -round(amplitude) for k in range(178)]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save_threshold_bundle(tmp_path / "bundle", LABELS)
    return tmp_path / "bundle"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three large and one small row of label 1; two small and one large of the others."""
    cases = [(1, 300), (1, 200), (1, 150), (1, 50), (2, 30), (3, 60), (5, 400)]
    table: list[list[object]] = [[f"X1.V1.{k}", *wave(amplitude), label] for k, (label, amplitude) in enumerate(cases)]
    write_table(tmp_path / "data" / "rows.csv", table)
    return tmp_path / "data"


def test_confusion_is_the_one_that_the_network_was_built_for(bundle: Path, rows: Path, tmp_path: Path) -> None:
    report = evaluate(bundle, rows, tmp_path / "out", build_stages=build_stages)
    assert report["classes"] == list(CLASSES)
    assert report["confusion"] == [[3, 1], [1, 2]]
    assert report["recall"] == {"seizure": 0.75, "rest": pytest.approx(2 / 3)}
    assert report["macro_recall"] == pytest.approx((0.75 + 2 / 3) / 2)
    assert report["accuracy"] == pytest.approx(5 / 7)
    assert report["n"] == 7
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_every_row_has_a_line_of_predictions(bundle: Path, rows: Path, tmp_path: Path) -> None:
    evaluate(bundle, rows, tmp_path / "out", build_stages=build_stages)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["id"], line["y"], line["truth"], line["label"]) for line in lines] == [
        ("X1.V1.0", "1", "seizure", "seizure"),
        ("X1.V1.1", "1", "seizure", "seizure"),
        ("X1.V1.2", "1", "seizure", "seizure"),
        ("X1.V1.3", "1", "seizure", "rest"),
        ("X1.V1.4", "2", "rest", "rest"),
        ("X1.V1.5", "3", "rest", "rest"),
        ("X1.V1.6", "5", "rest", "seizure"),
    ]
    hidden = math.tanh(math.tanh(4 * (2 * math.log(300.0) - LIMIT)))
    assert float(lines[0]["p_seizure"]) == pytest.approx(1 / (1 + math.exp(-10 * hidden)), abs=1e-6)
    assert float(lines[0]["p_seizure"]) + float(lines[0]["p_rest"]) == pytest.approx(1.0)


def test_the_order_of_rows_does_not_matter(bundle: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "a" / "rows.csv", [1, 2], seed=1)
    write_rows(tmp_path / "b" / "rows.csv", [1, 2], seed=2)
    for name in "ab":
        evaluate(bundle, tmp_path / name, tmp_path / f"out_{name}", build_stages=build_stages)
    one, two = ((tmp_path / f"out_{name}" / "predictions.csv").read_bytes() for name in "ab")
    assert one == two


def test_continuous_recordings_are_evaluated_as_streams(bundle: Path, tmp_path: Path) -> None:
    signal = np.array([wave(300) + wave(50) + wave(300)[:100], wave(50) + wave(60) + wave(40)[:100]], np.int16)
    np.savez(tmp_path / "x.npz", signal=signal, uci_y=[1, 5], name=["S001", "Z001"], fs=173.61)
    report = evaluate(bundle, tmp_path / "x.npz", tmp_path / "out", build_stages=build_stages)
    assert report["confusion"] == [[1, 1], [0, 2]]
    assert report["data"]["kind"] == "recordings"
    with (tmp_path / "out" / "predictions.csv").open() as file:
        assert [line["id"] for line in csv.DictReader(file)] == ["S001:177", "S001:355", "Z001:177", "Z001:355"]


def test_recordings_that_were_trained_on_are_declared(bundle: Path, rows: Path, tmp_path: Path) -> None:
    report = evaluate(bundle, rows, tmp_path / "out", build_stages=build_stages)
    assert (report["split"]["unit"], report["split"]["n_recordings_trained_on"]) == ("recording", 0)
    training = {**LABELS, "data": {"recordings": ["1:V1.2", "5:V1.6", "9:V1"]}}
    save_threshold_bundle(tmp_path / "same", training)
    again = evaluate(tmp_path / "same", rows, tmp_path / "out", build_stages=build_stages)
    assert (again["split"]["unit"], again["split"]["n_recordings_trained_on"]) == ("none", 2)
    assert "flatter" in again["split"]["means"]


def test_data_without_labels_are_refused(bundle: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "data" / "rows.csv", [["X1.V1", *wave(3)]], header=HEADER[:-1])
    with pytest.raises(
        RecordingError, match=r"y must be the column after X178, got \[\]; without labels there is noth"
    ):
        evaluate(bundle, tmp_path / "data", tmp_path / "out", build_stages=build_stages)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_does_not_know_the_labels_is_refused(rows: Path, tmp_path: Path) -> None:
    save_threshold_bundle(tmp_path / "other", {})
    with pytest.raises(BundleError, match=r"bundle 'threshold' must say in training.classes_of_labels .*, got None"):
        evaluate(tmp_path / "other", rows, tmp_path / "out", build_stages=build_stages)


def test_a_label_of_no_class_is_refused(rows: Path, tmp_path: Path) -> None:
    save_threshold_bundle(tmp_path / "other", {"classes_of_labels": {"seizure": [1], "rest": [2, 3]}})
    with pytest.raises(RecordingError, match=r"rows.csv: y must be a label of the bundle, got \[5\]"):
        evaluate(tmp_path / "other", rows, tmp_path / "out", build_stages=build_stages)


def test_a_place_that_cannot_be_written_is_named(bundle: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"out must be a folder that can be written, got '.*file/out'"):
        evaluate(bundle, rows, tmp_path / "file" / "out", build_stages=build_stages)
