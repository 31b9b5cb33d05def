"""The recipe ``seizure``: rows of the UCI table, or Bonn recordings, as labelled streams."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroloop.config.errors import NeuroloopError, RecordingError
from neuroloop.config.training import TrainSettings
from neuroloop.models.datasets.epileptic import CHUNK_SAMPLES, INFO, Recordings
from neuroloop.models.training.split import Fold
from neuroloop.models.training.streams import LabelledStream, Material, StageBuilder, cut_windows, plain_chunk
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray


def class_indices(settings_classes: dict[str, tuple[str | int, ...]]) -> dict[str | int, int]:
    """Return the class index of every label of the data."""
    return {member: index for index, members in enumerate(settings_classes.values()) for member in members}


def labelled_streams(data: Recordings, settings: TrainSettings) -> list[LabelledStream]:
    """Return one stream per run of every recording whose label belongs to a class.

    Raises
    ------
    RecordingError
        If a class has no recording.
    """
    index_of = class_indices(settings.classes)
    streams = []
    for group, recording in enumerate(data.recordings):
        if recording.label not in index_of:
            continue
        for _, samples in recording.runs:
            labels = np.full(len(samples), index_of[recording.label], np.int64)
            streams.append(LabelledStream(plain_chunk(samples, INFO), labels, recording.number, group))
    present = {int(stream.labels[0]) for stream in streams}
    for index, name in enumerate(settings.classes):
        if index not in present:
            members = list(settings.classes[name])
            raise RecordingError(
                f"{data.path.name} must have recordings of class {name!r} (y in {members!r}), got none"
            )
    return streams


def window_ids(data: Recordings, settings: TrainSettings, material: Material) -> list[str]:
    """Return the row id of every window, in their order."""
    index_of = class_indices(settings.classes)
    places = [
        (recording, first)
        for recording in data.recordings
        if recording.label in index_of
        for first, _ in recording.runs
    ]
    ids = []
    for stream, end in zip(material.streams, material.ends, strict=True):
        recording, first = places[int(stream)]
        start = first + int(end) - CHUNK_SAMPLES + 1
        ids.append(recording.row_ids.get(start, f"{recording.name}:{start}"))
    return ids


def cut_rows(data: Recordings, settings: TrainSettings, build_stages: StageBuilder) -> Material:
    """Cut one window per row of 178 samples.

    Raises
    ------
    NeuroloopError
        If windows of these settings are not exactly the rows.
    """
    material = cut_windows(
        labelled_streams(data, settings),
        settings.stages,
        window_samples=settings.window_samples,
        hop_samples=settings.hop_samples,
        build_stages=build_stages,
    )
    n_rows = sum(
        len(samples) // CHUNK_SAMPLES
        for recording in data.recordings
        if recording.label in class_indices(settings.classes)
        for _, samples in recording.runs
    )
    if len(material.windows) != n_rows or ((material.ends + 1) % CHUNK_SAMPLES).any():
        raise NeuroloopError(
            f"window_samples and hop_samples must make window k end at sample {CHUNK_SAMPLES} * k + "
            f"{CHUNK_SAMPLES - 1}, got {settings.window_samples!r} and {settings.hop_samples!r} feature rows"
        )
    return material


def amplitude_only(raw_std: FloatArray, is_seizure: BoolArray, folds: list[Fold]) -> dict[str, Any]:
    """Say how far one threshold on the standard deviation of a row goes: what a network must beat.

    Parameters
    ----------
    raw_std : array, shape (n_windows,)
        Of the raw samples of each window.
    is_seizure : array of bool, shape (n_windows,)
    folds : list of Fold
        The threshold is chosen on each fold's training windows for the largest mean of sensitivity and specificity.

    Returns
    -------
    dict
        ``sensitivity`` and ``specificity`` over all test windows, and the thresholds.
    """
    hits = np.zeros(len(raw_std), np.bool_)
    tested = np.zeros(len(raw_std), np.bool_)
    thresholds = []
    for fold in folds:
        values, truth = raw_std[fold.train], is_seizure[fold.train]
        candidates = np.quantile(values, np.linspace(0.01, 0.99, 197))
        scores = [((values >= at)[truth].mean() + (values < at)[~truth].mean()) for at in candidates]
        thresholds.append(float(candidates[int(np.argmax(scores))]))
        hits[fold.test] = raw_std[fold.test] >= thresholds[-1]
        tested |= fold.test
    return {
        "sensitivity": float(hits[tested & is_seizure].mean()),
        "specificity": float((~hits)[tested & ~is_seizure].mean()),
        "thresholds": thresholds,
    }


def raw_deviations(data: Recordings, settings: TrainSettings, material: Material) -> FloatArray:
    """Return the standard deviation of the raw samples of every window, in their order."""
    streams = labelled_streams(data, settings)
    return np.array(
        [
            streams[int(stream)].chunk.data[int(end) - CHUNK_SAMPLES + 1 : int(end) + 1].std()
            for stream, end in zip(material.streams, material.ends, strict=True)
        ]
    )
