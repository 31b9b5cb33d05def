"""The files of a run folder, read with patience: what is missing or broken is said, the rest is used."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.run_folder.drift_log import DRIFT_FILE
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, LATENCY_FILE, PROVENANCE_FILE, SUMMARY_FILE

_LARGEST_JSON = 32 << 20
_LONGEST_LINE = 1 << 20


class ReportError(NeuroloopError):
    """A report cannot be made or written."""


@dataclass
class RunFiles:
    """What a run folder holds.

    Parameters
    ----------
    path : Path
    config : str, optional
        Text of the resolved configuration; None, as for the others, where it is missing or broken.
    provenance, latency, summary : dict, optional
    events : EventDigest, optional
    drift : array, shape (n, 2), optional
        Sample number and drift score; None where the run has no such file.
    faults : list of str
        What is missing or broken, one line each.
    """

    path: Path
    config: str | None = None
    provenance: dict[str, Any] | None = None
    latency: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    events: EventDigest | None = None
    drift: NDArray[np.float64] | None = None
    faults: list[str] = field(default_factory=list)


def read_run(path: Path, digest: EventDigest) -> RunFiles:
    """Read a run folder.

    Parameters
    ----------
    path : Path
    digest : EventDigest
        Takes the events.

    Raises
    ------
    ReportError
        If it is no run folder.
    """
    if not path.is_dir():
        raise ReportError(f"run must be the folder of a run, got {str(path)!r}")
    if not any((path / name).is_file() for name in (CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE)):
        raise ReportError(
            f"run must be a folder with {CONFIG_FILE}, {EVENTS_FILE} or {SUMMARY_FILE}, got {str(path)!r} without any"
        )
    run = RunFiles(path)
    run.config = _read_text(run, CONFIG_FILE)
    run.provenance = _read_object(run, PROVENANCE_FILE)
    run.latency = _read_object(run, LATENCY_FILE)
    run.summary = _read_object(run, SUMMARY_FILE)
    run.events = _read_events(run, digest)
    run.drift = _read_scores(run)
    return run


def _read_text(run: RunFiles, name: str) -> str | None:
    """Return the text of a small file."""
    target = run.path / name
    try:
        if not target.is_file():
            run.faults.append(f"{name} is missing")
            return None
        if target.stat().st_size > _LARGEST_JSON:
            run.faults.append(f"{name} is larger than {_LARGEST_JSON >> 20} MiB and was not read")
            return None
        return target.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        run.faults.append(f"{name} cannot be read: {error.strerror}")
        return None


def _read_object(run: RunFiles, name: str) -> dict[str, Any] | None:
    """Return the object in a JSON file."""
    text = _read_text(run, name)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        run.faults.append(f"{name} is no JSON: {error}")
        return None
    if not isinstance(record, dict):
        run.faults.append(f"{name} must hold one JSON object, got {type(record).__name__}")
        return None
    return record


def _read_events(run: RunFiles, digest: EventDigest) -> EventDigest | None:
    """Feed every line of the events to the digest; broken ones are counted."""
    target = run.path / EVENTS_FILE
    if not target.is_file():
        run.faults.append(f"{EVENTS_FILE} is missing")
        return None
    n_line = 0
    broken: list[int] = []
    n_broken = 0
    try:
        with target.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                n_line += 1
                is_whole = line.endswith(b"\n") or len(line) < _LONGEST_LINE
                if not is_whole:
                    _skip_line(file)
                if not (is_whole and _take(line, digest)):
                    n_broken += 1
                    if len(broken) < 5:
                        broken.append(n_line)
    except OSError as error:
        run.faults.append(f"{EVENTS_FILE} cannot be read to its end: {error.strerror}")
    if n_broken:
        where = ", ".join(map(str, broken)) + (", ..." if n_broken > len(broken) else "")
        run.faults.append(f"{EVENTS_FILE}: {n_broken} of {n_line} lines are no events and were left out (line {where})")
    return digest


def _skip_line(file: BinaryIO) -> None:
    """Read to the end of a line that is too long to be an event."""
    while (part := file.readline(_LONGEST_LINE)) and not part.endswith(b"\n"):
        pass


def _take(line: bytes, digest: EventDigest) -> bool:
    """Hand one line to the digest; False if it is no event."""
    if not line.strip():
        return True
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and digest.add(record)


def _read_scores(run: RunFiles) -> NDArray[np.float64] | None:
    """Return the course of the drift score, in order of the samples; lines that are none are left out and said."""
    target = run.path / DRIFT_FILE
    if not target.is_file():
        return None
    rows: list[tuple[float, float]] = []
    n_broken = 0
    try:
        with target.open(encoding="utf-8", errors="replace", newline="") as file:
            for line in csv.reader(file.read(_LARGEST_JSON).splitlines()[1:]):
                try:
                    sample, score = (float(value) for value in line)
                except ValueError:
                    n_broken += 1
                    continue
                rows.append((sample, score))
    except (OSError, csv.Error) as error:
        run.faults.append(f"{DRIFT_FILE} cannot be read to its end: {error}")
    if n_broken:
        run.faults.append(f"{DRIFT_FILE}: {n_broken} lines are no scores and were left out")
    scores = np.array(rows, np.float64).reshape(-1, 2)
    scores = scores[np.isfinite(scores).all(axis=1)]
    return scores[np.argsort(scores[:, 0], kind="stable")]
