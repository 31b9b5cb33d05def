"""The registry of named adapters: layouts that a file's extension alone does not tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuroloop.config.errors import RecordingError
from neuroloop.stream.sources.recordings import npz_layouts
from neuroloop.stream.sources.recordings.faults import unreadable
from neuroloop.stream.sources.recordings.npz_arrays import Arrays, read_arrays
from neuroloop.stream.sources.recordings.openbci import read_openbci
from neuroloop.stream.sources.recordings.recording import Recording


@dataclass(frozen=True)
class NpzAdapter:
    """A layout of NPZ files: recognised by keys that must all be there."""

    keys: frozenset[str]
    read: Callable[[Path, Arrays], Recording]


NPZ_ADAPTERS = {
    "npz": NpzAdapter(npz_layouts.DUMP_KEYS, npz_layouts.from_dump),
    "ppg-night": NpzAdapter(npz_layouts.PPG_NIGHT_KEYS, npz_layouts.from_ppg_night),
    "eeg-windows": NpzAdapter(npz_layouts.WINDOWS_KEYS, npz_layouts.from_windows),
    "bonn": NpzAdapter(npz_layouts.BONN_KEYS, npz_layouts.from_bonn),
}
"""In the order in which they are tried."""

TEXT_ADAPTERS: dict[str, Callable[[Path], Recording]] = {"openbci": read_openbci}
ADAPTERS = (*TEXT_ADAPTERS, *NPZ_ADAPTERS)
"""All names that ``adapter`` may have."""


def read_with_adapter(path: Path, name: str) -> Recording:
    """Read a file with a named adapter.

    Raises
    ------
    RecordingError
        If there is no such adapter, or the file has not its layout.
    """
    if name in TEXT_ADAPTERS:
        return TEXT_ADAPTERS[name](path)
    if name not in NPZ_ADAPTERS:
        raise RecordingError(f"adapter must be one of {', '.join(ADAPTERS)}, got {name!r}")
    arrays, adapter = read_arrays(path), NPZ_ADAPTERS[name]
    missing = sorted(adapter.keys - arrays.keys())
    if missing:
        raise unreadable(path, f"for adapter {name!r} it must have the arrays {missing}, got {sorted(arrays)}")
    return adapter.read(path, arrays)


def read_npz(path: Path) -> Recording:
    """Read an NPZ file with the first adapter whose keys it has.

    Raises
    ------
    RecordingError
        If it is damaged or has the keys of none.
    """
    arrays = read_arrays(path)
    for adapter in NPZ_ADAPTERS.values():
        if adapter.keys <= arrays.keys():
            return adapter.read(path, arrays)
    raise unreadable(path, f"no known layout has the arrays {sorted(arrays)[:20]}")
