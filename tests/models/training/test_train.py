from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.bundle import DenseLayer, LstmLayer, NetworkSettings
from neuroloop.config.errors import BundleError, NeuroloopError, RecordingError
from neuroloop.config.stages import ReferenceSettings, ZScoreSettings
from neuroloop.config.training import TrainSettings
from neuroloop.models.bundle import load_bundle
from neuroloop.models.classifier import LstmClassifier
from neuroloop.models.evaluation import BundleChain, evaluate
from neuroloop.models.training.network import build_network, network_arrays
from neuroloop.models.training.streams import LabelledStream, frozen_stages, plain_chunk
from neuroloop.models.training.train import train, train_streams
from neuroloop.models.training.trainer import fit_temperature, rate_factor, weighted_loss
from neuroloop.stream.contracts.chunks import StreamInfo
from tests.models.datasets.epileptic_files import build_stages, made_up_signal, tiny_settings, write_map, write_rows
from tests.models.naive import feature_chunk, feature_info, make_bundle

torch = pytest.importorskip("torch")

NUMBERS = range(1, 7)


def folder_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("epileptic")
    write_rows(folder / "rows.csv", NUMBERS)
    write_map(folder / "map.csv", NUMBERS)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("models") / "seizure"
    return out, train(tiny_settings(), data, out, build_stages=build_stages)


def test_held_out_figures_are_good_on_an_easy_set(trained: tuple[Path, dict[str, Any]]) -> None:
    _, report = trained
    assert report["n"] == 90
    assert report["support"] == {"seizure": 18, "epileptogenic": 18, "healthy": 54}
    assert report["macro_recall"] > 0.9
    assert [fold["test_block"] for fold in report["folds"]] == ["1-2", "3-4", "5-6"]
    assert report["split"]["unit"] == "block"
    assert report["amplitude_only"]["sensitivity"] > 0.9


def test_bundle_loads_and_tells_how_it_came_about(trained: tuple[Path, dict[str, Any]]) -> None:
    out, report = trained
    settings = load_bundle(out).settings
    assert settings.training == report
    assert settings.classes == ("seizure", "epileptogenic", "healthy")
    assert [stage.kind for stage in settings.stages] == ["bandpower", "zscore"]
    assert json.loads((out / "training" / "report.json").read_text()) == report
    with (out / "training" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    hits = sum(row["truth"] == row["label"] for row in rows)
    assert hits / len(rows) == pytest.approx(report["accuracy"])
    with (out / "training" / "learning_curve.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert {row["test_block"] for row in curve} == {"1-2", "3-4", "5-6", "none"}
    card = (out / "MODEL_CARD.md").read_text()
    assert "Not a medical device" in card
    assert f"Macro recall **{report['macro_recall']:.3f}**" in card
    assert report["data"]["sha256"] in card


def test_same_data_and_seed_give_the_same_bytes_with_any_number_of_workers(
    data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    optimiser = {**tiny_settings().optimiser.model_dump(), "workers": 1}
    train(tiny_settings(optimiser=optimiser), data, tmp_path / "one", build_stages=build_stages)
    one, two = folder_of(tmp_path / "one"), folder_of(trained[0])
    assert one["model.safetensors"] == two["model.safetensors"]
    assert one["training/predictions.csv"] == two["training/predictions.csv"]
    train(tiny_settings(), data, tmp_path / "again", build_stages=build_stages)
    assert folder_of(tmp_path / "again") == two


def test_another_seed_gives_other_weights(data: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    changes = {"seed": 9, "train_epochs": 1}
    optimiser = {**tiny_settings().optimiser.model_dump(), **changes}
    settings = tiny_settings(optimiser=optimiser, split={"folds": False, "block_size": 2, "stop_size": 1})
    report = train(settings, data, tmp_path / "other", build_stages=build_stages)
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != (trained[0] / "model.safetensors").read_bytes()
    assert report["folds"] == []
    assert "flatter" in report["split"]["means"]


def test_runtime_agrees_with_the_network_that_was_trained() -> None:
    settings = NetworkSettings(
        n_features=3,
        lstm=(LstmLayer(hidden=7, bidirectional=True), LstmLayer(hidden=5)),
        pooling="mean",
        head=(DenseLayer(units=6), DenseLayer(units=4, activation="linear")),
        n_classes=3,
    )
    module = build_network(settings, 0.3, 11)
    module.eval()
    x = np.random.default_rng(2).standard_normal((20, 3)).astype(np.float32)
    with torch.no_grad():
        expected = torch.softmax(module(torch.from_numpy(x[None])), 1).numpy()
    made = make_bundle(settings, window_samples=20, hop_samples=20)
    bundle = type(made)(made.settings, network_arrays(settings, module))
    stage = LstmClassifier(bundle, feature_info(3))
    ours = stage.process(feature_chunk(x.astype(np.float64))).data
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_dropout_thins_in_training_only_and_by_its_own_seed() -> None:
    settings = NetworkSettings(n_features=2, lstm=(LstmLayer(hidden=4),), n_classes=2)
    x = torch.ones(3, 5, 2)
    outputs = []
    for _ in range(2):
        module = build_network(settings, 0.5, 4)
        torch.manual_seed(99)
        outputs.append([module(x).detach().numpy(), module(x).detach().numpy()])
        module.eval()
        np.testing.assert_array_equal(module(x).detach().numpy(), module(x).detach().numpy())
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0][0] != outputs[0][1]).any()


def test_a_recording_played_as_a_stream_gives_the_decisions_of_its_rows(trained: tuple[Path, dict[str, Any]]) -> None:
    chain = BundleChain(load_bundle(trained[0]), build_stages)
    signal = made_up_signal(2, 40, 4097).reshape(-1, 1)
    streamed = chain.run(signal)
    assert len(streamed) == 23
    assert [chain.end(k) for k in range(23)] == [178 * k + 177 for k in range(23)]
    for k in range(23):
        alone = chain.run(signal[178 * k : 178 * (k + 1)])
        np.testing.assert_array_equal(alone.data, streamed.data[k : k + 1])


def test_evaluation_of_rows_not_trained_on_is_good_too(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    write_rows(tmp_path / "held" / "out.csv", [31, 32])
    report = evaluate(trained[0], tmp_path / "held", tmp_path / "report", build_stages=build_stages)
    assert report["n"] == 30
    assert report["macro_recall"] > 0.9
    assert report["split"]["unit"] == "recording"


def test_progress_is_reported_for_every_training(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def note(label: str, done: int, total: int, values: Mapping[str, float]) -> None:
        assert set(values) == {"loss", "stop_macro_recall"}
        seen.append((label, done, total))

    settings = tiny_settings(optimiser={"train_epochs": 1, "batch_size": 32})
    train(settings, data, tmp_path / "out", build_stages=build_stages, progress=note)
    assert sorted(seen) == [("bundle", 1, 1), ("fold 1/3", 1, 1), ("fold 2/3", 1, 1), ("fold 3/3", 1, 1)]


def test_an_interrupted_training_ends_all_folds_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    def interrupt(label: str, done: int, total: int, values: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    settings = tiny_settings(optimiser={"train_epochs": 500, "patience": 500, "batch_size": 16})
    with pytest.raises(KeyboardInterrupt):
        train(settings, data, tmp_path / "out", build_stages=build_stages, progress=interrupt)
    assert threading.active_count() == before
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_replaced_but_nothing_else(data: Path, tmp_path: Path) -> None:
    settings = tiny_settings(optimiser={"train_epochs": 1}, split={"folds": False, "block_size": 2, "stop_size": 1})
    train(settings, data, tmp_path / "out", build_stages=build_stages)
    train(settings, data, tmp_path / "out", build_stages=build_stages)
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"out must be new, empty or a bundle, got '.*out' with thesis.txt"):
        train(settings, data, tmp_path / "out", build_stages=build_stages)


def test_a_class_without_recordings_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", NUMBERS, labels=[1, 3])
    with pytest.raises(RecordingError, match=r"rows.csv must have recordings of class 'epileptogenic' \(y in \[2\]\)"):
        train(tiny_settings(), tmp_path, tmp_path / "out", build_stages=build_stages)


def test_windows_that_are_not_the_rows_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NeuroloopError, match=r"must make window k end at sample 178 \* k \+ 177, got 60 and 89"):
        train(tiny_settings(window_samples=60), data, tmp_path / "out", build_stages=build_stages)


def test_missing_torch_is_one_clear_line(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from neuroloop.models.training.train import train\n"
        "from neuroloop.config.errors import NeuroloopError\n"
        "from tests.models.datasets.epileptic_files import build_stages, tiny_settings\n"
        "try: train(tiny_settings(), Path(sys.argv[1]), Path(sys.argv[2]), build_stages=build_stages)\n"
        "except NeuroloopError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "torch must be installed for training, got no such package: pip install 'neuroloop[train]'\n"


def test_evaluation_imports_no_torch() -> None:
    code = "import sys, neuroloop.models.evaluation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_names_the_channels_of_its_average() -> None:
    info = StreamInfo("amp", "EEG", "", 250.0, ("C3", "C4", "Aux"), ("EEG", "EEG", "misc"), ("uV",) * 3)
    settings = (ReferenceSettings(kind="reference"), ZScoreSettings(kind="zscore", mean=(0.0,), std=(1.0,)))
    named = ReferenceSettings(kind="reference", channels=("C3", "C4"), exclude=("Aux",))
    assert frozen_stages(settings, info, build_stages) == (named, settings[1])


def test_simulated_streams_train_with_the_same_trainer(tmp_path: Path) -> None:
    names = ("C3", "C4")
    info = StreamInfo("simulator", "EEG", "sim", 250.0, names, ("eeg",) * 2, ("uV",) * 2)
    rng = np.random.default_rng(3)
    streams = []
    for index in range(3):
        labels = np.repeat(np.array([0, 1, 2, 0, 2, 1]), 750).astype(np.int64)
        time = np.arange(len(labels)) / 250.0
        alpha, seizure = 40 * np.sin(20 * np.pi * time), 200 * np.sin(6 * np.pi * time)
        waves = np.select([labels == 1, labels == 2], [alpha, seizure])
        data = waves[:, None] + 10 * rng.standard_normal((len(labels), 2))
        streams.append(LabelledStream(plain_chunk(data, info), labels, index + 1, index))
    settings = TrainSettings.model_validate(
        {"recipe": "simulator", "lstm": [{"hidden": 8}], "optimiser": {"train_epochs": 10, "learning_rate": 0.02}}
    )
    report = train_streams(settings, streams, tmp_path / "demo", source={"seeds": [3]}, build_stages=build_stages)
    assert report["macro_recall"] > 0.9
    assert report["data"] == {"seeds": [3]}
    bundle = load_bundle(tmp_path / "demo")
    assert bundle.settings.input.ch_names == names
    assert not bundle.settings.input.any_names
    with pytest.raises(
        NeuroloopError, match=r"recipe must be 'seizure' or your own to be trained from a folder, got 'simulator'"
    ):
        train(settings, tmp_path, tmp_path / "out", build_stages=build_stages)
    with pytest.raises(NeuroloopError, match=r"streams must be at least one and of one layout, got 0"):
        train_streams(settings, [], tmp_path / "out", source={}, build_stages=build_stages)


def test_rate_rises_and_falls_to_zero() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(101)]
    assert factors[9] == factors[10] == 1.0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(6)
    logits = rng.standard_normal((20000, 3))
    powers = np.exp(logits)
    labels = (rng.uniform(size=(20000, 1)) > np.cumsum(powers / powers.sum(1, keepdims=True), axis=1)).sum(1)
    weight = np.ones(3)
    assert fit_temperature(3.0 * logits, labels, weight) == pytest.approx(3.0, rel=0.05)
    at_best = weighted_loss(logits, labels, weight)
    assert weighted_loss(3.0 * logits, labels, weight) > at_best
