"""A recorded run as one recording: the files that its recorder wrote, joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuroloop.config.errors import RecordingError
from neuroloop.stream.sources.recordings.faults import Notes
from neuroloop.stream.sources.recordings.recording import MarkerStream, RecordedStream, Recording
from neuroloop.stream.sources.recordings.run_script import RunScript, merge_scripts
from neuroloop.stream.sources.recordings.xdf import read_xdf

SIGNALS_FILE = "signals.xdf"
"""What a run folder's recording is called; further files are ``signals-0002.xdf`` and so on."""
_FURTHER = re.compile(r"signals-(\d{4,9})\.xdf")


def part_paths(folder: Path) -> list[Path]:
    """Return the files of a run in their order; empty where there is no first one."""
    first = folder / SIGNALS_FILE
    if not first.is_file():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _FURTHER.fullmatch(path.name))]
    return [first, *(path for _, path in sorted(numbered))]


def read_run(folder: Path) -> Recording:
    """Read all files of a run's recording.

    Parameters
    ----------
    folder : Path
        With ``signals.xdf``.

    Returns
    -------
    Recording
        Rows that a recorder, started anew, wrote a second time are there once; those that are in no file are noted.

    Raises
    ------
    RecordingError
        If a file cannot be read.
    """
    paths = part_paths(folder)
    parts = [read_xdf(path) for path in paths]
    notes = Notes()
    for path, part in zip(paths, parts, strict=True):
        notes.extend(f"{path.name}: {note}" if len(paths) > 1 else note for note in part.notes)
    names = list(dict.fromkeys(stream.info.name for part in parts for stream in part.streams))
    streams = [_join([s for part in parts for s in part.streams if s.info.name == name], notes) for name in names]
    scripts = [part.script for part in parts if part.script is not None]
    if not scripts:
        return replace(parts[0], streams=tuple(streams), notes=notes.lines())
    segments = _segments([s for part in parts for s in part.streams if s.first_row is not None])
    script = merge_scripts(scripts, segments)
    return Recording(paths[0], tuple(streams), _marker_streams(parts, script), notes.lines(), script)


def _segments(streams: Sequence[RecordedStream]) -> list[tuple[int, int]]:
    """Return which rows of the run each file adds: first row and number."""
    segments, expected = [], 0
    for stream in streams:
        first = max(expected, stream.first_row or 0)
        end = (stream.first_row or 0) + stream.n_samples
        if end > first:
            segments.append((first, end - first))
            expected = end
    return segments


def _join(parts: Sequence[RecordedStream], notes: Notes) -> RecordedStream:
    """Make one stream of its parts."""
    first = parts[0]
    pieces: list[tuple[RecordedStream, int]] = []
    expected, newest = 0, -1
    for part in parts:
        drop = 0
        if part.first_row is not None:
            drop = max(0, expected - part.first_row)
            if part.first_row > expected:
                notes.add(f"{first.info.name}: {part.first_row - expected} samples of the run are not in the recording")
            expected = max(expected, part.first_row + part.n_samples)
        elif part.sample_numbers is not None and part.n_samples:
            drop = int(np.searchsorted(part.sample_numbers, newest, side="right"))
            newest = max(newest, int(part.sample_numbers[-1]))
        pieces.append((part, min(drop, part.n_samples)))
    if len(pieces) == 1:
        return first
    shapes = [(one.info.n_channels, one.sample_numbers is None, one.valid is None) for one in parts]
    if len(set(shapes)) > 1:
        listed = " and ".join(str(n) for n in dict.fromkeys(n for n, _, _ in shapes))
        raise RecordingError(
            f"{first.info.name} must have the same channels and columns in all files of a run, got {listed} channels"
        )
    return replace(
        first,
        data=np.concatenate([part.data[drop:] for part, drop in pieces]),
        timestamps=np.concatenate([part.timestamps[drop:] for part, drop in pieces]),
        sample_numbers=None
        if first.sample_numbers is None
        else np.concatenate([p.sample_numbers[drop:] for p, drop in pieces if p.sample_numbers is not None]),
        valid=None if first.valid is None else np.concatenate([p.valid[d:] for p, d in pieces if p.valid is not None]),
        clock_offset_s=next((p.clock_offset_s for p in parts if p.clock_offset_s is not None), None),
    )


def _marker_streams(parts: Sequence[Recording], script: RunScript) -> tuple[MarkerStream, ...]:
    """Return the marker streams of the run, each marker once."""
    known = {stream.name: stream for part in parts for stream in part.marker_streams}
    return tuple(
        replace(
            stream,
            markers=tuple(
                sorted((a.marker for a in script.arrivals if a.marker.stream == name), key=lambda marker: marker.time)
            ),
        )
        for name, stream in known.items()
    )
