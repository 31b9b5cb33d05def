"""Read the UCI "Epileptic Seizure Recognition" rows and the Bonn EEG recordings that they were cut from.

The Bonn set holds five sets of single-channel recordings of 4097 samples at 173.61 Hz [1]_. The UCI table cuts each
into 23 chunks of 178 samples (the last 3 samples are dropped) and shuffles them: row ``X<c>.<rec>`` is chunk ``c``
(1..23) of the recording ``<rec>`` of its class. The same ``<rec>`` may stand in several classes, so a recording is the
pair of both.

References
----------
.. [1] Andrzejak et al., Phys. Rev. E 64, 061907, 2001.
"""

from __future__ import annotations

import csv
import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo

SFREQ = 173.61
"""Of the Bonn recordings, in Hz."""
CHUNK_SAMPLES = 178
"""Samples of one row."""
LABELS = (1, 2, 3, 4, 5)
"""1 seizure (S), 2 epileptogenic zone (F), 3 opposite hemisphere (N), 4 eyes closed (O), 5 eyes open (Z)."""
INFO = StreamInfo("bonn", "EEG", "", SFREQ, ("EEG",), ("eeg",), ("uV",))
"""The stream that a recording, or a row, is."""

_COLUMNS = [f"X{k}" for k in range(1, CHUNK_SAMPLES + 1)]
_ID = re.compile(r"^X(\d+)\.(.+)$")
_MAP_HEADER = ["recording", "uci_source_id", "y"]


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of recording, continuous except between its runs.

    Parameters
    ----------
    name : str
        Bonn's file name where it is known (``S093``), otherwise label and id (``1:V1.924``).
    label : int
        One of `LABELS`.
    number : int
        Place within its set: Bonn's file number where it is known, otherwise the rank of the id in its class.
    runs : tuple of (int, array)
        First sample and samples, shape (n_samples, 1), of each run without a missing chunk.
    row_ids : dict
        The id of the row that begins at a sample, for rows that came from a table.
    """

    name: str
    label: int
    number: int
    runs: tuple[tuple[int, FloatArray], ...]
    row_ids: dict[int, str]


@dataclass(frozen=True, slots=True)
class Recordings:
    """All recordings of one file or folder.

    Parameters
    ----------
    path : Path
        The file that was read.
    kind : str
        ``rows`` (the table) or ``recordings`` (the continuous signals).
    recordings : tuple of Recording
        Ordered by label, then number.
    sha256 : str
        Of the file.
    numbered : bool
        Whether `Recording.number` is Bonn's file number.
    """

    path: Path
    kind: str
    recordings: tuple[Recording, ...]
    sha256: str
    numbered: bool

    def windows(self) -> Iterator[tuple[str, int, int, FloatArray]]:
        """Give (row id, recording index, first sample, samples (178, 1)) of every row, recordings in order."""
        for index, recording in enumerate(self.recordings):
            for first, data in recording.runs:
                for start in range(0, len(data) - CHUNK_SAMPLES + 1, CHUNK_SAMPLES):
                    at = first + start
                    label = recording.row_ids.get(at, f"{recording.name}:{at}")
                    yield label, index, at, data[start : start + CHUNK_SAMPLES]


def read_epileptic(data: Path) -> Recordings:
    """Read the table of rows, or the recordings, from a file or a folder.

    A folder is searched for a table by its header, whatever its name; where it has none, for the NPZ file of the
    continuous recordings. A map from ids to file numbers (``recording,uci_source_id,y``) beside the table is used.

    Parameters
    ----------
    data : Path
        A folder, a CSV file of rows, or an NPZ file with ``signal`` (n, n_samples), ``uci_y`` and ``name``.

    Returns
    -------
    Recordings

    Raises
    ------
    RecordingError
        If there is no such data, more than one table, or a line of it is not a row; the line is named.
    """
    if data.is_file():
        if data.suffix.lower() == ".npz":
            return _read_npz(data)
        if _header(data) is None:
            raise RecordingError(f"data must be a CSV file whose header has X1..X{CHUNK_SAMPLES}, got {str(data)!r}")
        return _read_table(data)
    if not data.is_dir():
        raise RecordingError(f"data must be a folder or a file that exists, got {str(data)!r}")
    tables = [path for path in sorted(data.glob("*.csv")) if _header(path) is not None]
    if len(tables) > 1:
        raise RecordingError(
            f"data must hold one table with X1..X{CHUNK_SAMPLES}, got {[path.name for path in tables]!r}"
        )
    if tables:
        return _read_table(tables[0])
    archives = [path for path in sorted(data.glob("*.npz")) if _is_bonn(path)]
    if len(archives) == 1:
        return _read_npz(archives[0])
    found = sorted(path.name for path in data.iterdir())[:8]
    raise RecordingError(
        f"data must hold a CSV file whose header is an id, X1..X{CHUNK_SAMPLES}, y, or one NPZ file with signal and "
        f"uci_y, got {found!r}"
    )


def _header(path: Path) -> list[str] | None:
    """Return the header of a table of rows, ``None`` for another file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return header if header[1 : CHUNK_SAMPLES + 1] == _COLUMNS else None


def _file_numbers(folder: Path) -> dict[tuple[int, str], str]:
    """Return recording names by (label, id), from the map beside the table if there is one."""
    names: dict[tuple[int, str], str] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                if next(reader, []) != _MAP_HEADER:
                    continue
                for fields in reader:
                    if len(fields) != 3 or not fields[2].strip().isdigit() or not re.search(r"\d+$", fields[0]):
                        raise RecordingError(
                            f"{path.name}:{reader.line_num}: entry must be a numbered recording, an id and a label, "
                            f"got {','.join(fields)[:80]!r}"
                        )
                    names[int(fields[2]), fields[1]] = fields[0]
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
    return names


def _parse_row(fields: list[str], place: str, n_columns: int) -> tuple[int, str, int, FloatArray]:
    """Return chunk number, id of the recording, label and samples of one line."""
    if len(fields) != n_columns:
        raise RecordingError(f"{place}: row must have {n_columns} fields, got {len(fields)}")
    match = _ID.match(fields[0])
    if match is None or int(match[1]) < 1:
        raise RecordingError(f"{place}: id must be X<chunk>.<recording> with a chunk from 1, got {fields[0]!r}")
    try:
        samples = np.array(fields[1 : CHUNK_SAMPLES + 1], dtype=np.float64)
    except ValueError:
        samples = np.full(CHUNK_SAMPLES, np.nan)
    if not np.isfinite(samples).all():
        for name, text in zip(_COLUMNS, fields[1:], strict=False):
            if not _is_finite(text):
                raise RecordingError(f"{place}: {name} must be a finite number, got {text!r}")
    text = fields[-1].strip()
    if not text.isdigit() or int(text) not in LABELS:
        raise RecordingError(f"{place}: y must be a whole number in [1, 5], got {fields[-1]!r}")
    return int(match[1]), match[2], int(text), samples.reshape(-1, 1)


def _is_finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _read_table(path: Path) -> Recordings:
    """Read the table and put the chunks of each recording back in order."""
    header = _header(path) or []
    if header[CHUNK_SAMPLES + 1 :] != ["y"]:
        raise RecordingError(
            f"{path.name}:1: y must be the column after X{CHUNK_SAMPLES}, got {header[CHUNK_SAMPLES + 1 :]!r}; "
            "without labels there is nothing to train on or to compare with"
        )
    chunks: dict[tuple[int, str], dict[int, tuple[str, FloatArray]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        try:
            for fields in reader:
                if not fields:
                    continue
                place = f"{path.name}:{reader.line_num}"
                chunk, source, label, samples = _parse_row(fields, place, len(header))
                known = chunks.setdefault((label, source), {})
                if chunk in known:
                    raise RecordingError(f"{place}: id must be given once for a label, got {fields[0]!r} again")
                known[chunk] = (fields[0], samples)
        except (UnicodeDecodeError, csv.Error) as error:
            raise RecordingError(f"{path.name}:{reader.line_num + 1}: line must be CSV text, got: {error}") from error
    if not chunks:
        raise RecordingError(f"{path.name} must have at least one row below its header, got none")
    names = _file_numbers(path.parent)
    numbered = all(key in names for key in chunks)
    order: dict[int, list[str]] = {}
    for label, source in chunks:
        order.setdefault(label, []).append(source)
    recordings = []
    for label in sorted(order):
        for rank, source in enumerate(sorted(order[label], key=_natural), start=1):
            name = names[label, source] if numbered else f"{label}:{source}"
            number = int(re.findall(r"\d+$", name)[0]) if numbered else rank
            recordings.append(_glue(name, label, number, chunks[label, source]))
    recordings.sort(key=lambda recording: (recording.label, recording.number))
    return Recordings(path, "rows", tuple(recordings), _sha256(path), numbered)


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key that compares digits as numbers."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", text))


def _glue(name: str, label: int, number: int, chunks: dict[int, tuple[str, FloatArray]]) -> Recording:
    """Join consecutive chunks into runs."""
    runs: list[tuple[int, FloatArray]] = []
    group: list[int] = []
    for chunk in [*sorted(chunks), -1]:
        if group and chunk != group[-1] + 1:
            runs.append(((group[0] - 1) * CHUNK_SAMPLES, np.concatenate([chunks[c][1] for c in group])))
            group = []
        group.append(chunk)
    row_ids = {(c - 1) * CHUNK_SAMPLES: row_id for c, (row_id, _) in chunks.items()}
    return Recording(name, label, number, tuple(runs), row_ids)


def _is_bonn(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"signal", "uci_y", "name"} <= set(archive.files)
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError):
        return False


def _read_npz(path: Path) -> Recordings:
    """Read the continuous recordings."""
    if not _is_bonn(path):
        raise RecordingError(f"{path.name} must be an NPZ file with signal, uci_y and name, got something else")
    try:
        with np.load(path, allow_pickle=False) as archive:
            signal: NDArray[np.float64] = np.asarray(archive["signal"], dtype=np.float64)
            labels = np.asarray(archive["uci_y"])
            names = [str(name) for name in archive["name"]]
            sfreq = float(archive["fs"]) if "fs" in archive.files else SFREQ
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise RecordingError(f"{path.name} must hold plain numeric arrays, got: {error}") from error
    if signal.ndim != 2 or len(signal) == 0 or labels.shape != (len(signal),) or len(names) != len(signal):
        raise RecordingError(
            f"{path.name}: signal must be (n, n_samples) with n labels and names, got {signal.shape!r}"
        )
    if signal.shape[1] < CHUNK_SAMPLES or not np.isfinite(signal).all():
        raise RecordingError(f"{path.name}: signal must be finite and at least {CHUNK_SAMPLES} samples long")
    if abs(sfreq - SFREQ) > 0.01:
        raise RecordingError(f"{path.name}: fs must be {SFREQ} Hz, got {sfreq!r}")
    if not set(labels.tolist()) <= set(LABELS):
        raise RecordingError(
            f"{path.name}: uci_y must be in [1, 5], got {sorted(set(labels.tolist()) - set(LABELS))!r}"
        )
    numbered = all(re.search(r"\d+$", name) for name in names) and len(set(names)) == len(names)
    recordings = []
    for index, name in enumerate(names):
        number = int(re.findall(r"\d+$", name)[0]) if numbered else index + 1
        recordings.append(Recording(name, int(labels[index]), number, ((0, signal[index].reshape(-1, 1).copy()),), {}))
    recordings.sort(key=lambda recording: (recording.label, recording.number))
    return Recordings(path, "recordings", tuple(recordings), _sha256(path), numbered)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
