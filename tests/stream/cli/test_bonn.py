"""All continuous Bonn recordings through replay: what a stream gives equals what its rows give."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from neuroloop.config.loading import load_config
from neuroloop.stream.cli.recordings import as_recording_source
from neuroloop.stream.contracts.events import Event, canonical
from neuroloop.stream.replay.replay import Progress, Replay
from neuroloop.stream.sources.recordings.opening import open_recording
from tests.stream.cli.conftest import Command

_CLASS_OF_SET = {"S": "seizure", "F": "epileptogenic", "N": "healthy", "O": "healthy", "Z": "healthy"}


class _Options:
    select: str | None = None
    sfreq = None
    adapter = None


class _Collected:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def take(self, events: Sequence[Event], _at: Progress) -> None:
        self.lines.extend(map(canonical, events))


@pytest.fixture(scope="module")
def bonn(shared_data: Path) -> Path:
    folder = shared_data / "uci-epileptic"
    if not folder.is_dir():
        pytest.skip("the Bonn recordings are not among the shared ones")
    return folder


@pytest.mark.shared
@pytest.mark.slow
def test_every_recording_replayed_equals_its_rows_evaluated(neuroloop: Command, bonn: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bundle = tmp_path / "bundle"
    trained = neuroloop(
        "train", "seizure", "--data", bonn, "--out", bundle,
        "--set", "train.split.folds=false", "--set", "train.optimiser.train_epochs=1",
        "--set", "train.lstm=[{hidden: 16}]",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    judged = neuroloop("evaluate", bundle, bonn, "--out", tmp_path / "report")
    assert judged.status == 0, judged.err
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert set(report) >= {"accuracy", "macro_recall", "recall", "confusion"}

    config = load_config("seizure", [f"classifier.bundle={bundle}"])
    path = bonn / "bonn_recordings_shared.npz"
    recording = open_recording(path)
    assert len(recording.streams) == 400
    hits = n = 0
    for index, stream in enumerate(recording.streams):
        collected = _Collected()
        run = Replay(
            config=as_recording_source(config, path, _Options()),  # type: ignore[arg-type]
            stream=stream,
            markers=[],
            out=tmp_path / f"run{index}",
            chunking="37" if index % 2 else None,
            listeners=[collected.take],
        )
        run.run()
        truth = _CLASS_OF_SET[stream.info.name[0]]
        labels = [event["label"] for event in map(json.loads, collected.lines) if event["type"] == "prediction"]
        assert len(labels) == 4097 // 178
        hits += labels.count(truth)
        n += len(labels)
    assert n == report["n"] == 9200
    assert hits / n == report["accuracy"]
    with (tmp_path / "report" / "predictions.csv").open(encoding="utf-8") as file:
        assert sum(1 for _ in csv.DictReader(file)) == n
