"""Labelled streams, and the training windows that a chain of stages makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from neuroloop.config.errors import RecordingError
from neuroloop.config.stages import StageSettings
from neuroloop.models.training.windows import Float32Array, IntArray, TrainingWindows
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo, make_chunk
from neuroloop.stream.contracts.protocols import Processor, newest_sample

StageBuilder = Callable[[tuple[StageSettings, ...], StreamInfo], list[Processor]]
"""Makes the stages of a chain for a stream; handed in by whoever may import them."""


@dataclass(frozen=True, slots=True)
class LabelledStream:
    """A stretch of continuous signal and what it is.

    Parameters
    ----------
    chunk : Chunk
        The signal.
    labels : array of int, shape (n_samples,)
        Class index of every sample; -1 where it belongs to none.
    number : int
        From 1; the split holds out contiguous blocks of it. Stretches of one recording share it.
    group : int
        The recording; no group is ever on both sides of a split.
    """

    chunk: Chunk
    labels: IntArray
    number: int
    group: int


@dataclass(frozen=True, slots=True)
class Material:
    """Windows of all streams, and where each came from.

    Parameters
    ----------
    windows : TrainingWindows
    numbers : array, shape (n_windows,)
        `LabelledStream.number` of each window.
    streams : array, shape (n_windows,)
        Index of the stream.
    ends : array, shape (n_windows,)
        Index, in that stream's chunk, of the newest raw sample of each window.
    """

    windows: TrainingWindows
    numbers: IntArray
    streams: IntArray
    ends: IntArray


def plain_chunk(data: FloatArray, info: StreamInfo) -> Chunk:
    """Wrap samples (n_samples, n_channels) as the beginning of a stream; stamps run from 0 at the nominal rate."""
    timestamps = np.arange(len(data), dtype=np.float64) / (info.sfreq or 1.0)
    return make_chunk(np.array(data, dtype=np.float64, order="C"), timestamps, 0, np.ones(len(data), np.bool_), info)


def run_stages(stages: Sequence[Processor], chunk: Chunk) -> Chunk:
    """Run a chunk through a chain that has seen nothing yet."""
    for stage in stages:
        stage.reset()
        chunk = stage.process(chunk)
    return chunk


def frozen_stages(
    settings: tuple[StageSettings, ...], info: StreamInfo, build_stages: StageBuilder
) -> tuple[StageSettings, ...]:
    """Return settings for a bundle: those that depend on the types of channels name the channels instead.

    What a network was trained on must not change with the types that the next sender declares.

    Parameters
    ----------
    settings : tuple of settings
    info : StreamInfo
        Of the training streams.
    build_stages : callable

    Returns
    -------
    tuple of settings
        They do the same to this stream.
    """
    chain = build_stages(settings, info)
    return tuple(getattr(stage, "frozen", one) for stage, one in zip(chain, settings, strict=True))


def cut_windows(
    streams: Sequence[LabelledStream],
    stage_settings: tuple[StageSettings, ...],
    *,
    window_samples: int,
    hop_samples: int,
    build_stages: StageBuilder,
) -> Material:
    """Run the streams through the stages, each from a fresh start, and cut labelled windows.

    A window is kept where all of its rows are valid and all raw samples that it spans carry one label. Windows stand at
    multiples of the hop; where a shifted one may begin is noted.

    Parameters
    ----------
    streams : sequence of LabelledStream
    stage_settings : tuple of settings
        The chain, without the z-score that training adds.
    window_samples, hop_samples : int
        In feature rows.
    build_stages : callable

    Returns
    -------
    Material

    Raises
    ------
    RecordingError
        If no window is left.
    """
    rows: list[Float32Array] = []
    parts: list[tuple[IntArray, ...]] = []
    offset = 0
    chain: list[Processor] = []
    chain_info: StreamInfo | None = None
    for index, stream in enumerate(streams):
        if chain_info != stream.chunk.info:
            chain_info = stream.chunk.info
            chain = build_stages(stage_settings, chain_info)
        base = stream.chunk.slice(0, len(stream.chunk))
        output = run_stages(chain, Chunk(base.data, base.timestamps, 0, base.valid, base.info))
        first = output.first_sample
        n_starts = len(output) - window_samples + 1
        if n_starts <= 0:
            continue
        newest = np.array([newest_sample(chain, first + row) for row in range(len(output))], np.int64)
        kept = _kept(stream.labels, output.valid, newest, newest_sample(chain, 0), window_samples)
        earliest, latest = _constant_stretch(kept)
        starts = np.arange(-first % hop_samples, n_starts, hop_samples, dtype=np.int64)
        starts = starts[kept[starts] >= 0]
        parts.append(
            (
                starts + offset,
                earliest[starts] + offset,
                latest[starts] + offset,
                kept[starts],
                np.full(len(starts), stream.group, np.int64),
                np.full(len(starts), stream.number, np.int64),
                np.full(len(starts), index, np.int64),
                newest[starts + window_samples - 1],
            )
        )
        rows.append(output.data.astype(np.float32))
        offset += len(output)
    if sum(len(part[0]) for part in parts) == 0:
        raise RecordingError(f"data must hold a labelled window of {window_samples} feature rows, got none")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    starts, earliest, latest, labels, groups, numbers, indices, ends = columns
    windows = TrainingWindows(np.concatenate(rows), starts, earliest, latest, labels, groups, window_samples)
    return Material(windows, numbers, indices, ends)


def _kept(labels: IntArray, valid: BoolArray, newest: IntArray, span: int, window_samples: int) -> IntArray:
    """Return, for every row a window may begin at, its label, or -1 where it is mixed, unlabelled or invalid.

    Row ``k`` is taken to span ``newest[k] - span .. newest[k]``, as row 0 does.
    """
    changes = np.concatenate([[0], np.cumsum(labels[1:] != labels[:-1])])
    invalid = np.concatenate([[0], np.cumsum(~valid)])
    n_starts = len(newest) - window_samples + 1
    last = newest[window_samples - 1 :]
    oldest = np.maximum(newest[:n_starts] - span, 0)
    pure = (changes[last] == changes[oldest]) & (invalid[window_samples:] == invalid[:n_starts])
    return np.where(pure, labels[last], -1).astype(np.int64)


def _constant_stretch(labels: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first and the last index of the stretch of equal values around every index."""
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    begins = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(labels)]])
    lengths = ends - begins
    return np.repeat(begins, lengths).astype(np.int64), np.repeat(ends - 1, lengths).astype(np.int64)
