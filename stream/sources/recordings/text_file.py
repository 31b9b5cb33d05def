"""Text recordings (CSV, TSV, TXT): one row per sample, with a time column or a rate given by the user."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type
from neuroloop.stream.sources.recordings.clock import ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes, unreadable
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.recordings.text_table import TextTable, cell_number, read_table
from neuroloop.stream.sources.recordings.time_column import is_time_name, rate_of, read_times, time_column
from neuroloop.stream.sources.stream_description import unique_names
from neuroloop.stream.sources.units import normal_unit

_MARKER_NAME = re.compile(
    r"(?:marker|trigger|trig|stim|sti|event|label|annotation|anomaly|changepoint)s?(?:[ _-]?channel)?[ _-]?\d*",
    re.IGNORECASE,
)
_UNIT_BEHIND = re.compile(r"(?P<name>.*\S)\s*[\[(](?P<unit>[^\[\]()]+)[\])]")
_UNITS = frozenset({"uV", "mV", "V", "nV", "degC", "degF", "bpm", "mmHg", "Ohm", "kOhm", "%", "Hz", "m/s^2"})


def read_text_file(path: Path, *, sfreq: float | None = None, text: str | None = None) -> Recording:
    """Read a text recording.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.tsv`` or ``.txt``, also compressed with gzip; cells separated by comma, semicolon, tab or, for
        numbers only, white space; with a header or without.
    sfreq : float, optional
        Rate in Hz; needed where there is no time column.
    text : str, optional
        The file's contents, where they are already read.

    Returns
    -------
    Recording
        One stream. With a time column its stamps are the stamps and there are no sample numbers; without, time 0 is
        the first row. Columns named ``marker``, ``trigger``, ``stim``, ``event``, ``label`` (``anomaly``,
        ``changepoint``) are markers where they change to something other than 0 or empty, and no channels.

    Raises
    ------
    RecordingError
        If a cell or a row is not as it must be (with its line), if a column holds texts, or if there is neither a time
        column nor ``sfreq``.
    """
    table, notes = read_table(path, text), Notes()
    names = list(table.header) if table.header else [f"ch{i + 1}" for i in range(table.n_columns)]
    timed = time_column(names) if table.header else None
    marked = [i for i, name in enumerate(names) if table.header and i != timed and _MARKER_NAME.fullmatch(name.strip())]
    picked = [i for i in range(table.n_columns) if i != timed and i not in marked]
    picked = _without_other_times_and_index(table, names, picked, notes)
    _refuse_texts(table, picked)
    if timed is None and sfreq is None:
        raise unreadable(path, "it has no time column: give its rate with --sfreq")
    if not picked:
        raise unreadable(path, "it has no column with samples")
    timestamps: FloatArray | None = None
    if timed is not None:
        timestamps, note = read_times(table, timed, names[timed])
        notes.extend([note] if note else [])
    data = table.numbers(picked)
    rate = _rate(path, timestamps, sfreq, notes)
    clock = ImpliedClock(len(data), rate)
    stamps = clock.timestamps if timestamps is None else timestamps
    info = _info(path, [names[i] for i in picked], rate, notes)
    stream = RecordedStream(info, data, stamps, clock.sample_numbers if timestamps is None else None)
    markers = [MarkerStream(names[i], column_markers(table.cells(i), stamps.tolist(), names[i])) for i in marked]
    return Recording(path, (stream,), tuple(item for item in markers if item.markers), notes.lines())


def stem_of(path: Path) -> str:
    """Return a file's name without its extension, and without a further one where it is compressed."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def column_markers(cells: Sequence[str], times: Sequence[float], name: str) -> tuple[Marker, ...]:
    """Return a marker for every change of a column to something other than 0 or empty."""
    markers, before = [], ""
    for cell, when in zip(cells, times, strict=True):
        label = _marker_label(cell)
        if label and label != before:
            markers.append(Marker(when, label, name))
        before = label
    return tuple(markers)


def _marker_label(cell: str) -> str:
    """Return a marker's text: a whole number without a point, nothing for 0 and for a missing value."""
    plain = cell.strip().strip('"')
    number = cell_number(plain)
    if number is None:
        return plain
    if number == 0 or math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() else repr(number)


def _without_other_times_and_index(table: TextTable, names: list[str], picked: list[int], notes: Notes) -> list[int]:
    """Leave out further time columns that are texts, and a nameless first column that only counts the rows."""
    kept = []
    for column in picked:
        first = table.cell(0, column)
        is_nameless = table.header is not None and names[column].lower() in ("", "unnamed: 0")
        if table.header and is_time_name(names[column]) and cell_number(first) is None:
            notes.add(f"column {names[column]!r} is a second time column and is left out")
        elif is_nameless and not any(table.cells(column)):
            notes.add(f"column {column + 1} has no name and no cells: it is left out")
        elif is_nameless and table.cells(column) == [str(row) for row in range(len(table.lines))]:
            notes.add(f"column {column + 1} has no name and counts the rows: it is left out")
        else:
            kept.append(column)
    return kept


def _refuse_texts(table: TextTable, picked: Sequence[int]) -> None:
    """Refuse a column whose first cell is a text, by its name."""
    for column in picked:
        cell = table.cell(0, column)
        if cell_number(cell) is None:
            raise table.fault(
                0, f"column {table.name_of(column)!r} must be numbers, a time or a marker column, got {cell[:40]!r}"
            )


def _rate(path: Path, timestamps: FloatArray | None, sfreq: float | None, notes: Notes) -> float:
    """Return the rate that the user gave, or the one that the stamps show."""
    if timestamps is not None and (n_back := int(np.count_nonzero(np.diff(timestamps) < 0))):
        notes.add(f"stamps step back {n_back} times")
    if sfreq is not None:
        return float(sfreq)
    rate = rate_of(timestamps) if timestamps is not None else None
    if rate is None:
        raise unreadable(path, "its time column shows no rate: give it with --sfreq")
    return rate


def _info(path: Path, names: Sequence[str], sfreq: float, notes: Notes) -> StreamInfo:
    """Describe the stream; a known unit in brackets behind a name is taken off it."""
    labels, units = [], []
    for index, name in enumerate(names):
        match = _UNIT_BEHIND.fullmatch(name)
        unit = normal_unit(match["unit"]) if match else ""
        is_unit = match is not None and unit in _UNITS
        labels.append((match["name"] if match and is_unit else name) or f"ch{index + 1}")
        units.append(unit if is_unit else "")
    unique, doubled = unique_names(labels)
    notes.extend(doubled)
    types = tuple(guess_channel_type(label) for label in unique)
    return StreamInfo(stem_of(path), most_common_type(types), "", sfreq, unique, types, tuple(units))
