"""The folder of one run: what was run, what it said, and what became of every sample."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.events import DELIVERY_FIELDS, Event, encode

CONFIG_FILE = "config.yaml"
PROVENANCE_FILE = "provenance.json"
EVENTS_FILE = "events.jsonl"
LATENCY_FILE = "latency.json"
SUMMARY_FILE = "summary.json"
_NO_DELIVERY: Mapping[str, Any] = dict.fromkeys(DELIVERY_FIELDS)


class RunFolderError(NeuroloopError):
    """The folder of a run cannot be made or written."""


def event_line(event: Event, delivery: Mapping[str, Any] = _NO_DELIVERY) -> str:
    """Return the line of ``events.jsonl``: identity, then delivery (null in replay and on workers)."""
    return encode({**event.identity(), **delivery})


class RunFolder:
    """Write the files of a run; implements `neuroloop.stream.contracts.protocols.EventSink`.

    A disk that takes nothing more ends ``events.jsonl`` behind its last whole line: that event and all later ones are
    counted in ``n_unwritten``, and `check` says it.

    Parameters
    ----------
    path : Path
        A new or empty folder; parents are made.
    config_yaml : str
        The resolved configuration.
    provenance : mapping
        Hashes and versions.

    Raises
    ------
    RunFolderError
        If the folder cannot be made, or already holds something.
    """

    def __init__(self, path: Path, *, config_yaml: str, provenance: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = next(path.iterdir(), None)
            if held is not None:
                raise RunFolderError(f"out must be a new or empty folder, got {str(path)!r}, which holds {held.name!r}")
            (path / CONFIG_FILE).write_text(config_yaml, encoding="utf-8")
            self._events = (path / EVENTS_FILE).open("wb", buffering=0)
        except OSError as error:
            raise RunFolderError(f"out must be a writable folder, got {str(path)!r}: {error.strerror}") from error
        self._size = 0
        self._error: OSError | None = None
        self.n_unwritten = 0
        """Events that are not in the file."""
        self.write_json(PROVENANCE_FILE, provenance)

    def write(self, events: Sequence[Event]) -> None:
        """Append one line per event; raises nothing, see `check`."""
        if self._error is not None or self._events.closed:
            self.n_unwritten += len(events)
        elif events:
            self._append(events)

    def _append(self, events: Sequence[Event]) -> None:
        """Write whole lines: those of all events or, where the disk does not take them, of none."""
        rest = memoryview("".join(f"{event_line(event)}\n" for event in events).encode())
        size = self._size + len(rest)
        try:
            while rest:
                rest = rest[os.write(self._events.fileno(), rest) :]
        except OSError as error:
            self._error = error
            self.n_unwritten += len(events)
            with suppress(OSError):
                os.ftruncate(self._events.fileno(), self._size)
            return
        self._size = size

    def check(self) -> None:
        """Say what could not be written.

        Raises
        ------
        RunFolderError
            If an event is not in the file.
        """
        if self._error is not None or self.n_unwritten:
            why = self._error.strerror if self._error is not None else "it is closed"
            rule = f"out must be a writable folder, got {str(self.path)!r}"
            raise RunFolderError(f"{rule}: {why}; {self.n_unwritten} events are not written")

    def write_json(self, name: str, record: Mapping[str, Any]) -> None:
        """Write one JSON file of the folder; as `put_json`."""
        put_json(self.path / name, record)

    def close(self) -> None:
        """Finish ``events.jsonl``; may be called twice, raises nothing, see `check`."""
        try:
            self._events.close()
        except OSError as error:
            self._error = self._error or error


def put_json(target: Path, record: Mapping[str, Any]) -> None:
    """Write one JSON file so that a crash leaves the old or the new one, never half of one.

    Raises
    ------
    RunFolderError
        If it cannot be written.
    """
    partial = target.with_suffix(".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            json.dump(json.loads(encode(record)), file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise RunFolderError(f"out must be a writable folder, got {str(target.parent)!r}: {error.strerror}") from error


def add_to_summary(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Put one more entry into a run's summary; a summary that could not be written is left as it is.

    Raises
    ------
    RunFolderError
        If it cannot be written.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    put_json(path, {**summary, name: record})
