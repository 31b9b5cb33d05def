"""NPZ recordings: the layout of ``--dump``, and those of some public datasets.

Each layout is recognised by its keys; `neuroloop.stream.sources.recordings.adapters` lists their names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type
from neuroloop.stream.sources.recordings.clock import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes, unreadable
from neuroloop.stream.sources.recordings.npz_arrays import Arrays
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.stream_description import unique_names
from neuroloop.stream.sources.units import normal_unit

DUMP_KEYS = frozenset({"data", "timestamps", "channels", "sfreq"})
BONN_KEYS = frozenset({"signal", "name", "fs"})
WINDOWS_KEYS = frozenset({"signal", "label", "source_file", "fs", "channel"})
PPG_NIGHT_KEYS = frozenset({"ppg", "stage", "fs", "channel", "epoch_s"})
_HIGHEST_SAMPLE = 1 << 53
SLEEP_STAGES = {0: "wake", 1: "light", 2: "deep", 3: "REM"}


def from_dump(path: Path, arrays: Arrays) -> Recording:
    """Read the layout that ``--dump`` writes.

    ``data`` (n_samples, n_channels), ``timestamps``, ``channels``, ``sfreq``, and optionally ``valid``, ``units``,
    ``types`` and either ``samples`` (the number of every sample) or ``first_sample``. The latter numbers the first
    sample only: where the stamps are not one period apart, they tell what is missing after it.
    """
    notes = Notes()
    data, stamps = _matrix(path, arrays, "data", 2), _matrix(path, arrays, "timestamps", 1)
    names = _texts(path, arrays, "channels")
    units = _texts(path, arrays, "units") if "units" in arrays else ("",) * len(names)
    types = _texts(path, arrays, "types") if "types" in arrays else tuple(guess_channel_type(name) for name in names)
    if data.shape != (len(stamps), len(names)) or not len(units) == len(types) == len(names):
        raise unreadable(
            path,
            f"data must have shape (n_samples, n_channels) as timestamps ({len(stamps)}), channels ({len(names)}), "
            f"units ({len(units)}) and types ({len(types)}) say, got {data.shape!r}",
        )
    unique, doubled = unique_names(names)
    notes.extend(doubled)
    sfreq = _scalar(path, arrays, "sfreq")
    info = StreamInfo(
        path.stem, most_common_type(types), "", sfreq, unique, types, tuple(normal_unit(unit) for unit in units)
    )
    first_sample = _first_sample(path, arrays)
    numbers = _numbers(path, arrays, len(data))
    if numbers is None and "first_sample" in arrays and _is_even(stamps, sfreq):
        numbers = np.arange(len(data), dtype=np.int64) + first_sample
    stream = RecordedStream(info, data, stamps, numbers, _valid(path, arrays, len(data)), first_sample=first_sample)
    return Recording(path, (stream,), (), notes.lines())


def from_bonn(path: Path, arrays: Arrays) -> Recording:
    """Read the Bonn EEG recordings: every row of ``signal`` is one stream, named by ``name``.

    The values are microvolts, as the recordings' authors published them (Andrzejak et al., Phys. Rev. E 64, 061907,
    2001). Where the set is given, a marker at time 0 says it.
    """
    signal, names = _matrix(path, arrays, "signal", 2), _texts(path, arrays, "name")
    sfreq = _scalar(path, arrays, "fs")
    if len(names) != len(signal):
        raise unreadable(path, f"name must have one entry per recording ({len(signal)}), got {len(names)}")
    sets = _texts(path, arrays, "set") if "set" in arrays else ()
    streams, markers = [], []
    for index, name in enumerate(names):
        info = StreamInfo(name, "EEG", "", sfreq, ("EEG",), ("EEG",), ("uV",))
        clock = ImpliedClock(signal.shape[1], sfreq)
        data = np.ascontiguousarray(signal[index].reshape(-1, 1))
        streams.append(RecordedStream(info, data, clock.timestamps, clock.sample_numbers))
        if len(sets) == len(names):
            markers.append(MarkerStream("set", (Marker(0.0, sets[index], "set"),), about=name))
    return Recording(path, tuple(streams), tuple(markers))


def from_windows(path: Path, arrays: Arrays) -> Recording:
    """Read labelled windows (CHB-MIT): window ``i`` is one stream, ``chb01_00`` and so on, its label a marker at 0."""
    notes = Notes()
    signal = _matrix(path, arrays, "signal", 3)
    sfreq, sources = _scalar(path, arrays, "fs"), _texts(path, arrays, "source_file")
    names, doubled = unique_names(_texts(path, arrays, "channel"))
    notes.extend(doubled)
    labels = _matrix(path, arrays, "label", 1)
    if signal.shape[1] != len(names) or not len(signal) == len(sources) == len(labels):
        raise unreadable(
            path,
            f"signal must have shape (n_windows, n_channels, n_samples) as label ({len(labels)}) and channel "
            f"({len(names)}) say, got {signal.shape!r}",
        )
    types = tuple(guess_channel_type(name) for name in names)
    streams, markers = [], []
    for index in range(len(signal)):
        name = f"{sources[index].split('_')[0]}_{index:02d}"
        info = StreamInfo(name, most_common_type(types), sources[index], sfreq, names, types, ("uV",) * len(names))
        clock = ImpliedClock(signal.shape[2], sfreq)
        data = np.ascontiguousarray(signal[index].T)
        streams.append(RecordedStream(info, data, clock.timestamps, clock.sample_numbers))
        markers.append(MarkerStream("label", (Marker(0.0, f"{labels[index]:g}", "label"),), about=name))
    return Recording(path, tuple(streams), tuple(markers), notes.lines())


def from_ppg_night(path: Path, arrays: Arrays) -> Recording:
    """Read a night of PPG: one stream of raw counts; a marker where the sleep stage changes."""
    notes = Notes()
    data, stages = _matrix(path, arrays, "ppg", 2), _matrix(path, arrays, "stage", 1)
    sfreq, epoch_s = _scalar(path, arrays, "fs"), _scalar(path, arrays, "epoch_s")
    names, doubled = unique_names(_texts(path, arrays, "channel"))
    notes.extend(doubled)
    if data.shape[1] != len(names):
        raise unreadable(path, f"channel must have one entry per channel ({data.shape[1]}), got {len(names)}")
    clock = ImpliedClock(len(data), sfreq)
    info = StreamInfo(path.stem, "PPG", "", sfreq, names, ("PPG",) * len(names), ("",) * len(names))
    stream = RecordedStream(info, data, clock.timestamps, clock.sample_numbers)
    labels = [SLEEP_STAGES.get(int(stage), f"{stage:g}") if math.isfinite(stage) else "unknown" for stage in stages]
    markers = tuple(
        Marker(epoch * epoch_s, label, "stage")
        for epoch, label in enumerate(labels)
        if not epoch or label != labels[epoch - 1]
    )
    return Recording(path, (stream,), (MarkerStream("stage", markers),) if markers else (), notes.lines())


def _matrix(path: Path, arrays: Arrays, key: str, n_axes: int) -> FloatArray:
    """Return an array of real numbers as new float64 in C order."""
    array: NDArray[Any] | None = arrays.get(key)
    if array is None or array.dtype.kind not in "iufb" or array.ndim != n_axes:
        got = None if array is None else (array.dtype.kind, array.shape)
        raise unreadable(path, f"{key} must be an array of numbers with {n_axes} axes, got {got!r}")
    with np.errstate(all="ignore"):
        return np.array(array, dtype=np.float64, order="C")


def _texts(path: Path, arrays: Arrays, key: str) -> tuple[str, ...]:
    array = arrays.get(key)
    if array is None or array.dtype.kind not in "US" or array.ndim != 1:
        got = None if array is None else (array.dtype.kind, array.shape)
        raise unreadable(path, f"{key} must be a list of texts, got {got!r}")
    return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in array.tolist())


def _scalar(path: Path, arrays: Arrays, key: str) -> float:
    array = arrays.get(key)
    number = float(array.item()) if array is not None and array.size == 1 and array.dtype.kind in "iuf" else math.nan
    if not LOWEST_RATE_HZ <= number <= HIGHEST_RATE_HZ:
        got = None if array is None else f"{array.tolist()!r:.60}"
        raise unreadable(path, f"{key} must be in [{LOWEST_RATE_HZ:g}, {HIGHEST_RATE_HZ:g}], got {got}")
    return number


def _numbers(path: Path, arrays: Arrays, n_samples: int) -> NDArray[np.int64] | None:
    """Return the number of every sample, where the file has them."""
    if "samples" not in arrays:
        return None
    samples = arrays["samples"]
    if samples.dtype.kind not in "iu" or samples.shape != (n_samples,) or (samples[1:] <= samples[:-1]).any():
        raise unreadable(path, f"samples must be {n_samples} ascending whole numbers, got {samples.shape!r}")
    if n_samples and not 0 <= int(samples[0]) <= int(samples[-1]) <= _HIGHEST_SAMPLE:
        raise unreadable(path, f"samples must be in [0, 2**53], got {int(samples[0])} to {int(samples[-1])}")
    return samples.astype(np.int64)


def _first_sample(path: Path, arrays: Arrays) -> int:
    """Return the number of the first sample; 0 where the file does not say it."""
    if "first_sample" not in arrays:
        return 0
    first = arrays["first_sample"]
    if first.dtype.kind not in "iu" or first.size != 1 or not 0 <= int(first.item()) <= _HIGHEST_SAMPLE:
        raise unreadable(path, f"first_sample must be one whole number >= 0, got {first.tolist()!r:.60}")
    return int(first.item())


def _is_even(stamps: FloatArray, sfreq: float) -> bool:
    """Return whether all stamps are about one period apart, so that counting them loses nothing."""
    periods = np.diff(stamps) * sfreq
    return bool(np.isfinite(stamps).all() and ((periods > 0.5) & (periods < 1.5)).all())


def _valid(path: Path, arrays: Arrays, n_samples: int) -> BoolArray | None:
    if "valid" not in arrays:
        return None
    valid = arrays["valid"]
    if valid.dtype.kind not in "biu" or valid.shape != (n_samples,):
        raise unreadable(path, f"valid must be {n_samples} booleans, got {valid.dtype.kind, valid.shape!r}")
    return valid.astype(np.bool_)
