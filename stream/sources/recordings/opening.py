"""Opening a recording of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neuroloop.config.errors import InputError, RecordingError
from neuroloop.stream.sources.recordings.adapters import read_npz, read_with_adapter
from neuroloop.stream.sources.recordings.brainvision import read_brainvision
from neuroloop.stream.sources.recordings.clock import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from neuroloop.stream.sources.recordings.edf import read_edf
from neuroloop.stream.sources.recordings.eeglab import read_eeglab
from neuroloop.stream.sources.recordings.faults import unreadable
from neuroloop.stream.sources.recordings.gdf import read_gdf
from neuroloop.stream.sources.recordings.openbci import is_openbci, read_openbci
from neuroloop.stream.sources.recordings.recording import Recording
from neuroloop.stream.sources.recordings.run_parts import SIGNALS_FILE, read_run
from neuroloop.stream.sources.recordings.text_file import read_text_file
from neuroloop.stream.sources.recordings.text_table import read_text
from neuroloop.stream.sources.recordings.xdf import read_xdf

_READERS: dict[str, Callable[[Path], Recording]] = {
    ".xdf": read_xdf,
    ".xdfz": read_xdf,
    ".xdf.gz": read_xdf,
    ".edf": read_edf,
    ".rec": read_edf,
    ".bdf": read_edf,
    ".vhdr": read_brainvision,
    ".vmrk": read_brainvision,
    ".eeg": read_brainvision,
    ".set": read_eeglab,
    ".fdt": read_eeglab,
    ".gdf": read_gdf,
    ".npz": read_npz,
}
_TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


def open_recording(path: str | Path, *, sfreq: float | None = None, adapter: str | None = None) -> Recording:
    """Read a recording into memory.

    Parameters
    ----------
    path : str or Path
        XDF, EDF, BDF, BrainVision, EEGLAB, GDF, NPZ or text (CSV, TSV, TXT), or a run folder with ``signals.xdf``.
    sfreq : float, optional
        Rate in Hz of a text recording without a time column; wins over the time column where there is one.
    adapter : str, optional
        One of `neuroloop.stream.sources.recordings.adapters.ADAPTERS`; without it the layout is recognised by its
        content.

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        If the file cannot be read as what it claims to be, in one line that names it.
    """
    path = Path(path)
    if sfreq is not None and not LOWEST_RATE_HZ <= sfreq <= HIGHEST_RATE_HZ:
        raise RecordingError(f"sfreq must be in [{LOWEST_RATE_HZ:g}, {HIGHEST_RATE_HZ:g}], got {sfreq!r}")
    is_run = False
    try:
        if path.is_dir():
            if not (path / SIGNALS_FILE).is_file():
                raise unreadable(path, f"it is a folder without {SIGNALS_FILE}")
            path, is_run = path / SIGNALS_FILE, True
        elif not path.exists():
            raise unreadable(path, "there is no such file")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    suffix = _suffix(path)
    if sfreq is not None and (adapter is not None or suffix not in _TEXT):
        raise RecordingError(f"sfreq must be left out for {path.name}, which says its own rate, got {sfreq!r}")
    try:
        if adapter is not None:
            return read_with_adapter(path, adapter)
        if suffix in _TEXT:
            return _read_text(path, sfreq)
        if is_run:
            return read_run(path.parent)
        reader = _READERS.get(suffix)
        if reader is None:
            raise unreadable(path, f"extension must be one of {', '.join([*_READERS, *_TEXT])}")
        return reader(path)
    except MemoryError as error:
        raise unreadable(path, "it does not fit into memory") from error
    except InputError as error:
        raise unreadable(path, error) from error


def _read_text(path: Path, sfreq: float | None) -> Recording:
    """Read a text recording of whatever layout."""
    text = read_text(path)
    if not is_openbci(text):
        return read_text_file(path, sfreq=sfreq, text=text)
    if sfreq is not None:
        raise RecordingError(f"sfreq must be left out for {path.name}, which says its own rate, got {sfreq!r}")
    return read_openbci(path, text)


def _suffix(path: Path) -> str:
    """Return the extension in lower case, ``.gz`` with the one in front of it."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        return "".join(suffixes)
    return suffixes[-1] if suffixes else ""
