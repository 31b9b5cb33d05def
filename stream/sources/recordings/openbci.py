"""Text recordings of the OpenBCI GUI: ``%`` header lines, a sample index that wraps, EXG channels in microvolts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.sources.recordings.clock import ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.recordings.text_file import column_markers, stem_of
from neuroloop.stream.sources.recordings.text_numbers import decimal_number
from neuroloop.stream.sources.recordings.text_table import TextTable, read_table, read_text

_WRAP = 256
_RATE = re.compile(r"%\s*Sample Rate\s*=\s*([0-9.]+)", re.IGNORECASE)
_CHANNELS = re.compile(r"%\s*Number of channels\s*=\s*(\d{1,4})\b", re.IGNORECASE)
_BOARD = re.compile(r"%\s*Board\s*=\s*(\S+)", re.IGNORECASE)


def is_openbci(text: str) -> bool:
    """Say whether a text begins like a recording of the OpenBCI GUI."""
    return text.lstrip("\ufeff").lower().startswith("%openbci")


def read_openbci(path: Path, text: str | None = None) -> Recording:
    """Read a text recording of the OpenBCI GUI.

    Parameters
    ----------
    path : Path
    text : str, optional
        The file's contents, where they are already read.

    Returns
    -------
    Recording
        The EXG channels as one stream of type EEG in uV; accelerometer channels, where there are any, as a second one
        of type ACC in g. Stamps are Unix seconds where the file has them. Sample numbers follow the sample index
        (0..255, wrapping), so that lost packets are counted; a Ganglion counts otherwise, its numbers are left out.

    Raises
    ------
    RecordingError
        If the header lacks the rate or the channels, or a row is faulty.
    """
    text, notes = read_text(path) if text is None else text, Notes()
    if not is_openbci(text):
        raise unreadable(path, "it does not begin with '%OpenBCI'")
    head = "\n".join(line for line in text.splitlines()[:40] if line.startswith("%"))
    rate = _RATE.search(head)
    sfreq = decimal_number(rate[1]) if rate else None
    if sfreq is None or not 0 < sfreq < 1e9:
        raise unreadable(path, "its header must have a line '%Sample Rate = ... Hz'")
    table = read_table(path, text, comment="%")
    names = list(table.header) if table.header else _names_without_header(path, table, head)
    exg = [i for i, name in enumerate(names) if name.lower().startswith("exg channel")]
    acc = [i for i, name in enumerate(names) if name.lower().startswith("accel channel")]
    if not exg:
        raise unreadable(path, "it has no column 'EXG Channel ...'")
    index = next((i for i, name in enumerate(names) if name.lower() == "sample index"), None)
    board = _BOARD.search(head)
    numbers = None
    if index is not None and not (board and "ganglion" in board[1].lower()):
        numbers = _sample_numbers(table, index, notes)
    stamps = _stamps(table, names, notes)
    if stamps is None:
        clock = ImpliedClock(len(table.lines), sfreq)
        stamps = clock.timestamps if numbers is None else numbers / sfreq
    stem = stem_of(path)
    streams = [_stream(table, names, exg, (stem, "EEG", "uV"), sfreq, stamps, numbers)]
    if acc:
        streams.append(_stream(table, names, acc, (f"{stem}-accel", "ACC", "g"), sfreq, stamps, numbers))
    marked = [i for i, name in enumerate(names) if name.lower().startswith("marker")]
    markers = [MarkerStream(names[i], column_markers(table.cells(i), stamps.tolist(), names[i])) for i in marked]
    return Recording(path, tuple(streams), tuple(item for item in markers if item.markers), notes.lines())


def _stream(
    table: TextTable,
    names: list[str],
    columns: list[int],
    what: tuple[str, str, str],
    sfreq: float,
    stamps: FloatArray,
    numbers: NDArray[np.int64] | None,
) -> RecordedStream:
    """Make one stream of some columns; ``what`` is its name, type and unit."""
    name, kind, unit = what
    n = len(columns)
    info = StreamInfo(name, kind, "", sfreq, tuple(names[i] for i in columns), (kind,) * n, (unit,) * n)
    return RecordedStream(info, table.numbers(columns), stamps, numbers)


def _names_without_header(path: Path, table: TextTable, head: str) -> list[str]:
    """Name the columns of older files, which have none: index, EXG channels, the rest."""
    count = _CHANNELS.search(head)
    n_channels = int(count[1]) if count else 0
    if not 0 < n_channels < table.n_columns:
        raise unreadable(path, f"its header must have a line '%Number of channels = N', got {table.n_columns} columns")
    names = ["Sample Index", *(f"EXG Channel {i}" for i in range(n_channels))]
    return [*names, *(f"Other {i}" for i in range(table.n_columns - len(names)))]


def _stamps(table: TextTable, names: list[str], notes: Notes) -> FloatArray | None:
    """Return the Unix stamps in seconds; the GUI writes milliseconds, newer versions seconds."""
    column = next((i for i, name in enumerate(names) if name.lower() == "timestamp"), None)
    if column is None:
        return None
    values = table.numbers([column])[:, 0]
    if not np.isfinite(values).all():
        notes.add("some stamps are missing: the clock is implied by the rate")
        return None
    return values / 1000.0 if float(values[0]) > 1e11 else values


def _sample_numbers(table: TextTable, column: int, notes: Notes) -> NDArray[np.int64] | None:
    """Unwrap the sample index; boards that count in twos are seen by their most common step."""
    values = table.numbers([column])[:, 0]
    if not (np.isfinite(values).all() and (values >= 0).all() and (values < _WRAP).all() and (values % 1 == 0).all()):
        notes.add("its sample index is not a count from 0 to 255: lost samples are judged from the stamps")
        return None
    steps = np.mod(np.diff(values.astype(np.int64)), _WRAP)
    if not len(steps):
        return np.zeros(len(values), np.int64)
    unit = max(int(np.bincount(steps, minlength=_WRAP)[1:].argmax()) + 1, 1)
    n_repeated = int(np.count_nonzero(steps == 0))
    if n_repeated:
        notes.add(f"its sample index repeats {n_repeated} times: counted as the next sample")
    moved = np.maximum((steps + unit // 2) // unit, 1)
    n_lost = int(moved.sum()) - len(moved)
    if n_lost:
        notes.add(f"its sample index shows {n_lost} lost samples")
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(moved)))
