"""Evaluate a bundle on labelled data: its own stages and its own runtime, the numbers that a replay gives."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.errors import BundleError, RecordingError
from neuroloop.models.bundle import Bundle, check_stream, load_bundle
from neuroloop.models.classifier import LstmClassifier
from neuroloop.models.datasets.epileptic import INFO, Recordings, read_epileptic
from neuroloop.models.metrics import report_figures
from neuroloop.models.training.split import ids_hash
from neuroloop.models.training.streams import StageBuilder, plain_chunk, run_stages
from neuroloop.stream.contracts.chunks import Chunk, FloatArray
from neuroloop.stream.contracts.protocols import Processor, newest_sample

REPORT_FILE, PREDICTIONS_FILE = "report.json", "predictions.csv"


class BundleChain:
    """A bundle's stages and classifier for one stream, run over separate stretches."""

    def __init__(self, bundle: Bundle, build_stages: StageBuilder) -> None:
        check_stream(bundle, INFO)
        stages = build_stages(bundle.settings.stages, INFO)
        features = stages[-1].info_out if stages else INFO
        self._chain: list[Processor] = [*stages, LstmClassifier(bundle, features)]

    def run(self, samples: FloatArray) -> Chunk:
        """Return the probabilities of a stretch (n_samples, n_channels), from a fresh start."""
        return run_stages(self._chain, plain_chunk(samples, INFO))

    def end(self, decision: int) -> int:
        """Return the newest raw sample of a decision."""
        return newest_sample(self._chain, decision)


def evaluate(bundle_dir: Path, data: Path, out: Path, *, build_stages: StageBuilder) -> dict[str, Any]:
    """Run a bundle over every row, or every recording, and compare with the labels.

    Rows of a table are separate: each starts afresh and the last of its decisions counts. Continuous recordings are
    streams: each starts afresh and every decision counts. ``report.json`` and ``predictions.csv`` are written to
    ``out``.

    Parameters
    ----------
    bundle_dir : Path
        Folder of a bundle whose ``training`` names the labels of its classes.
    data : Path
        What `neuroloop.models.datasets.epileptic.read_epileptic` reads.
    out : Path
        Folder for the two files; made if it is missing.
    build_stages : callable
        Makes the stages of a chain for a stream.

    Returns
    -------
    dict
        What ``report.json`` holds: the figures of `neuroloop.models.metrics.report_figures`, ``bundle``, ``data``,
        ``split``.

    Raises
    ------
    NeuroloopError
        If the bundle or the data cannot be read, do not belong together, or ``out`` cannot be written.
    """
    bundle = load_bundle(bundle_dir)
    index_of = _class_of_label(bundle)
    recordings = read_epileptic(data)
    chain = BundleChain(bundle, build_stages)
    ids, labels, probabilities = _predict(chain, recordings, index_of)
    classes = bundle.settings.classes
    truth = np.array([index_of[label] for label in labels], np.int64)
    report = {
        **report_figures(probabilities, truth, classes),
        "bundle": {"name": bundle.settings.name, "sha256": bundle.settings.sha256, "hash": bundle.bundle_hash},
        "data": {
            "file": recordings.path.name,
            "sha256": recordings.sha256,
            "kind": recordings.kind,
            "n_recordings": len(recordings.recordings),
        },
        "split": _declared_split(bundle, recordings, ids, labels),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / REPORT_FILE).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        _write_predictions(out / PREDICTIONS_FILE, ids, labels, probabilities, classes, truth)
    except OSError as error:
        raise RecordingError(f"out must be a folder that can be written, got {str(out)!r}: {error.strerror}") from error
    return report


def _class_of_label(bundle: Bundle) -> Mapping[Any, int]:
    """Return the class index of every label of the data, from what training wrote into the bundle."""
    members = bundle.settings.training.get("classes_of_labels")
    if not isinstance(members, dict) or set(members) != set(bundle.settings.classes):
        raise BundleError(
            f"bundle {bundle.settings.name!r} must say in training.classes_of_labels which labels its classes "
            f"{list(bundle.settings.classes)!r} stand for, got {members!r}"
        )
    return {label: index for index, name in enumerate(bundle.settings.classes) for label in members[name]}


def _predict(
    chain: BundleChain, recordings: Recordings, index_of: Mapping[Any, int]
) -> tuple[list[str], list[int], FloatArray]:
    """Return id, label and probabilities of everything that was decided."""
    unknown = sorted({recording.label for recording in recordings.recordings} - set(index_of))
    if unknown:
        raise RecordingError(f"{recordings.path.name}: y must be a label of the bundle, got {unknown!r}")
    ids: list[str] = []
    labels: list[int] = []
    rows: list[FloatArray] = []
    if recordings.kind == "rows":
        for row_id, index, _, samples in recordings.windows():
            decided = chain.run(samples)
            if not len(decided):
                raise BundleError(f"bundle must decide within a row of {len(samples)} samples, got no decision")
            ids.append(row_id)
            labels.append(recordings.recordings[index].label)
            rows.append(decided.data[-1])
    else:
        for recording in recordings.recordings:
            for first, samples in recording.runs:
                decided = chain.run(samples)
                for k, row in enumerate(decided.data, start=decided.first_sample):
                    ids.append(f"{recording.name}:{first + chain.end(k)}")
                    labels.append(recording.label)
                    rows.append(row)
    if not rows:
        raise RecordingError(f"{recordings.path.name} must be long enough for one decision, got none")
    return ids, labels, np.stack(rows)


def _declared_split(
    bundle: Bundle, recordings: Recordings, ids: Sequence[str], labels: Sequence[int]
) -> dict[str, Any]:
    """Say how these data stand to those that the bundle was trained on."""
    trained_on = bundle.settings.training.get("data", {})
    known = set(trained_on.get("recordings", [])) if isinstance(trained_on, dict) else set()
    shared = sum(recording.name in known for recording in recordings.recordings)
    return {
        "unit": "none" if shared else "recording",
        "means": "recordings of these names were trained on: the figures flatter, the held-out ones stand in "
        "training/report.json of the bundle"
        if shared
        else "no recording of these names was trained on; whether persons are shared cannot be told from here",
        "n_recordings_trained_on": shared,
        "ids_sha256": ids_hash(f"{label}/{row}" for label, row in zip(labels, ids, strict=True)),
    }


def _write_predictions(
    path: Path,
    ids: Sequence[str],
    labels: Sequence[int],
    probabilities: FloatArray,
    classes: Sequence[str],
    truth: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]],
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "y", "truth", "label", *(f"p_{name}" for name in classes)])
        for row_id, y, index, row in zip(ids, labels, truth, probabilities, strict=True):
            writer.writerow([row_id, y, classes[int(index)], classes[int(row.argmax())], *row.tolist()])
