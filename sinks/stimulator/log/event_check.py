"""Commands and refusals of ``events.jsonl``, held against those of the log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuroloop.sinks.run_folder.folder import EVENTS_FILE
from neuroloop.sinks.stimulator.log.audit import LogFile
from neuroloop.sinks.stimulator.log.events import events_of
from neuroloop.sinks.stimulator.log.plain_file import read_plain, reason_of
from neuroloop.stream.contracts.events import canonical

_TYPES = ("command", "refusal")
_MOST_SHOWN = 3


def event_faults(log: LogFile, run: Path, notes: list[str] | None) -> Iterator[str]:
    """Compare the commands and refusals that were written as events, as JSON objects, however a line is spaced.

    Behind the end of a log that was cut off there is nothing to compare with: that is noted, where ``notes`` is given.
    """
    try:
        records = _records(read_plain(run / EVENTS_FILE))
    except OSError as error:
        yield f"{EVENTS_FILE} must be a readable file, got {reason_of(error)}"
        return
    except ValueError as error:
        yield f"{EVENTS_FILE}: {error}"
        return
    written = Counter(canonical(record) for record in records if record.get("type") in _TYPES)
    decided = Counter(canonical(event) for event in events_of(output for _, output in log.outputs()))
    if notes is not None:
        n_off = (decided - written).total() + (written - decided).total()
        if n_off:
            notes.append(f"{n_off} commands and refusals at the end cannot be compared with {EVENTS_FILE}")
        return
    for what, some in (("without", decided - written), ("with", written - decided)):
        for line in list(some)[:_MOST_SHOWN]:
            yield f"{EVENTS_FILE} must have the log's commands and refusals, got it {what} {line[:160]}"
        if len(some) > _MOST_SHOWN:
            yield f"{EVENTS_FILE} must have the log's commands and refusals, got it {what} {some.total()} in all"


def _records(data: bytes) -> list[dict[str, Any]]:
    """Return the objects of whole lines; a last line without its end is torn, and says nothing."""
    records = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise ValueError(f"line {number} must be one JSON object, got {line[:40]!r}")
        records.append(record)
    return records
