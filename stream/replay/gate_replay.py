"""A run's stimulation log, decided once more: its commands and refusals as events, merged with those of signals."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroloop.config.errors import RecordingError
from neuroloop.config.loading import dump_config
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import PROVENANCE_FILE, SUMMARY_FILE, RunFolder
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.events import events_of, replayed
from neuroloop.stream.contracts.events import Event, in_order


def gate_events(run: Path) -> list[Event]:
    """Feed the inputs of a run's log to a new gate and return the events of what it decides, in order.

    Parameters
    ----------
    run : Path
        Folder of a run; one without a stimulation log gives none.

    Raises
    ------
    RecordingError
        If the log does not hold to its end.
    """
    path = run / AUDIT_FILE
    if not path.is_file():
        return []
    log = read_log(path)
    if log.chain.fault is not None:
        raise RecordingError(f"{AUDIT_FILE} must hold from its first line on, got: {log.chain.fault}")
    return in_order(event for _, outputs in replayed(log) for event in events_of(outputs))


class EventMerge:
    """Put events that are known beforehand between those that come in order.

    Parameters
    ----------
    known : sequence of Event
        In order.
    """

    def __init__(self, known: Sequence[Event]) -> None:
        self._known = deque(known)

    def with_earlier(self, events: Sequence[Event]) -> list[Event]:
        """Return events that come next, with the known ones that stand before each."""
        merged: list[Event] = []
        for event in events:
            while self._known and self._known[0].order < event.order:
                merged.append(self._known.popleft())
            merged.append(event)
        return merged

    def rest(self) -> list[Event]:
        """Return the known ones behind all others."""
        rest = list(self._known)
        self._known.clear()
        return rest


def replay_gate_alone(run: Path, config: Config, out: Path) -> dict[str, Any]:
    """Replay a run that kept no signals: only its gate, whose inputs are all in its log.

    Returns
    -------
    dict
        The summary.
    """
    events = gate_events(run)
    try:
        provenance = json.loads((run / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        provenance = {}
    folder = RunFolder(out, config_yaml=dump_config(config), provenance=provenance)
    try:
        folder.write(events)
        summary: dict[str, Any] = {
            "events": dict(sorted(Counter(event.type for event in events).items())),
            "notes": ["the run kept no signals: the gate alone was replayed"],
        }
        folder.write_json(SUMMARY_FILE, summary)
        folder.check()
    finally:
        folder.close()
    return summary
