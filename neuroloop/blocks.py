"""From what a user pushes to raw blocks: checked, in float64, never changed and never kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import InputError, StreamMismatch
from neuroloop.descriptions import is_mne
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.recording import RecordedStream, Recording, select_stream

_BLOCK_SAMPLES = 1024
"""Long arrays go through in pieces: the numbers are the same, the memory is not."""
_MNE_SAMPLES = 1 << 16


def pieces(block: RawBlock) -> Iterator[RawBlock]:
    """Cut a block into pieces that stay in the processor's cache."""
    for start in range(0, len(block.timestamps), _BLOCK_SAMPLES):
        yield block.rows(start, start + _BLOCK_SAMPLES)


def has_own_stamps(x: Any) -> bool:
    """Say whether an object says itself when its samples were taken."""
    return isinstance(x, (Chunk, RecordedStream, Recording)) or is_mne(x, "Raw")


def own_blocks(x: Any, info: StreamInfo) -> Iterator[RawBlock]:
    """Return the samples of a chunk, a recording or an MNE Raw, block by block.

    Raises
    ------
    StreamMismatch
        If it is of another stream than the pipeline's.
    """
    if isinstance(x, Recording):
        x = select_stream(x)
    if isinstance(x, Chunk):
        _check_layout(x.info, info)
        return iter([RawBlock(x.data, x.timestamps, np.arange(x.first_sample, x.next_sample), x.valid)])
    if isinstance(x, RecordedStream):
        _check_layout(x.info, info)
        return iter([RawBlock(x.data, x.timestamps, x.sample_numbers, x.valid)])
    if (tuple(x.ch_names), float(x.info["sfreq"])) != (info.ch_names, info.sfreq):
        raise StreamMismatch(f"x must have the pipeline's channels and rate ({info.sfreq:g} Hz), got another Raw")
    return _mne_blocks(x, info.sfreq)


def _mne_blocks(raw: Any, sfreq: float) -> Iterator[RawBlock]:
    """Yield the samples of an MNE Raw, which need not lie in memory."""
    for start in range(0, raw.n_times, _MNE_SAMPLES):
        stop = min(start + _MNE_SAMPLES, raw.n_times)
        numbers = np.arange(start, stop)
        yield RawBlock(np.ascontiguousarray(raw.get_data(start=start, stop=stop).T), numbers / sfreq, numbers)


def own_markers(x: Any) -> list[Marker]:
    """Return the markers that come with an object: an MNE Raw's annotations, a recording's markers."""
    if isinstance(x, Recording):
        return list(x.markers_for(select_stream(x)))
    if not is_mne(x, "Raw"):
        return []
    begin = x.first_samp / float(x.info["sfreq"])  # onsets count from before what was cropped away
    rows = zip(x.annotations.onset.tolist(), x.annotations.description.tolist(), strict=True)
    return [Marker(onset - begin, str(label), "annotations") for onset, label in rows]


def check_array(x: Any, n_channels: int | None) -> FloatArray:
    """Return an array of samples as float64; a view or a copy, never written to.

    Raises
    ------
    InputError
        If it has other than two dimensions, or does not hold real numbers.
    StreamMismatch
        If it has another number of channels.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise InputError(
            f"x must be an array (n_samples, n_channels), got rows of different lengths: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"x must be an array of real numbers, got {type(x).__name__} of {array.dtype}")
    if array.ndim != 2:
        hint = " (one sample is x[np.newaxis, :], one channel x[:, np.newaxis])" if array.ndim == 1 else ""
        raise InputError(f"x must have two dimensions (n_samples, n_channels), got shape {array.shape!r}{hint}")
    if n_channels is not None and array.shape[1] != n_channels:
        hint = " (channels are columns: push x.T)" if array.shape[0] == n_channels else ""
        raise StreamMismatch(f"x must have the pipeline's {n_channels} channels, got shape {array.shape!r}{hint}")
    return np.ascontiguousarray(array, np.float64)


def check_stamps(timestamps: Any, n_samples: int) -> FloatArray:
    """Return stamps as float64.

    Raises
    ------
    InputError
        If there is not one finite number per sample.
    """
    stamps = np.asarray(timestamps)
    if stamps.shape != (n_samples,) or stamps.dtype.kind not in "fiu":
        raise InputError(f"timestamps must be one number per sample ({n_samples}), got shape {stamps.shape!r}")
    stamps = np.ascontiguousarray(stamps, np.float64)
    bad = np.flatnonzero(~np.isfinite(stamps))
    if len(bad):
        raise InputError(f"timestamps must be finite, got {float(stamps[bad[0]])!r} in row {bad[0]}")
    return stamps


def check_numbers(sample_numbers: Any, n_samples: int) -> NDArray[np.int64] | None:
    """Return sample numbers as int64; None where there are none."""
    if sample_numbers is None:
        return None
    numbers = np.asarray(sample_numbers)
    if numbers.shape != (n_samples,) or numbers.dtype.kind not in "iu":
        raise InputError(f"sample_numbers must be one integer per sample ({n_samples}), got shape {numbers.shape!r}")
    return numbers.astype(np.int64)


def check_flags(valid: Any, n_samples: int) -> BoolArray | None:
    """Return flags as bool; None where there are none."""
    if valid is None:
        return None
    flags = np.asarray(valid)
    if flags.shape != (n_samples,) or flags.dtype.kind != "b":
        raise InputError(f"valid must be one bool per sample ({n_samples}), got shape {flags.shape!r} of {flags.dtype}")
    return flags


def check_markers(markers: Iterable[Marker | tuple[float, str]]) -> Sequence[Marker]:
    """Return markers; a pair is a time in seconds and a label.

    Raises
    ------
    InputError
        If one is neither, or its time is not finite.
    """
    taken = []
    for one in markers:
        if not isinstance(one, Marker):
            try:
                time, label = one
                one = Marker(float(time), str(label))  # noqa: PLW2901  # the pair in its place
            except (TypeError, ValueError) as error:
                raise InputError(f"markers must be pairs of a time in seconds and a label, got {one!r}") from error
        if not np.isfinite(one.time):
            raise InputError(f"markers must have finite times, got {one.time!r} for {one.label!r}")
        taken.append(one)
    return taken


def _check_layout(theirs: StreamInfo, ours: StreamInfo) -> None:
    """Refuse samples of another stream."""
    for label in ("sfreq", "ch_names", "ch_units"):
        mine, other = getattr(ours, label), getattr(theirs, label)
        if label == "ch_units":  # a pipeline may have been told what the stream does not say
            mine = tuple(one if said else "" for one, said in zip(mine, other, strict=True))
        if mine != other:
            raise StreamMismatch(f"x must be of the pipeline's stream ({label} {mine!r}), got {other!r}")
