"""A run's log and the ledger of its electrode, held against each other: each knows where the other stood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuroloop.config.places import ledger_folder, ledgers_of
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, LogFile
from neuroloop.sinks.stimulator.log.ledger import LedgerError, ledger_path, mark_fault, read_ledger, read_mark
from neuroloop.sinks.stimulator.log.ledger_entries import Anchor


def check_ledger(
    log: LogFile, setup: Mapping[str, Any], ledgers: Path | None, *, unproven: list[str], notes: list[str]
) -> Iterator[str]:
    """Yield what is wrong; say what cannot be proven, where the ledger is missing, or has lost lines.

    Parameters
    ----------
    log : LogFile
    setup : mapping
        Values of its first record.
    ledgers : Path or None
        Folder of the ledgers; None for the account's own: the log does not name it, and a run must not choose it.
    unproven, notes : list of str
        Are added to.
    """
    settings = setup.get("settings", {})
    folder = ledgers if ledgers is not None else ledger_folder(settings.get("ledger"))
    folder = ledgers_of(folder, settings.get("device", {}).get("kind"))
    path = ledger_path(folder, str(settings.get("subject")), str(settings.get("electrode")))
    if not path.is_file():
        unproven.append(f"not proven: the ledger must be there, got none at {path}; without it all could be made anew")
        return
    try:
        entries, chain = read_ledger(path)
    except LedgerError as error:
        yield str(error)
        return
    try:
        fault = mark_fault(entries, chain, read_mark(path))
    except LedgerError as error:
        fault = str(error)
    if fault is not None:
        unproven.append(f"not proven: the ledger at {path} must have {fault}")
    stood = setup.get("ledger", {})
    n_lines, head = stood.get("lines", 0), stood.get("head")
    if stood.get("folds", 0) != entries.n_folds:
        notes.append("the ledger was rewritten since: what it said before the run is no longer there")
    elif n_lines > len(chain.links):
        unproven.append(f"not proven: the ledger at {path} must have {n_lines} lines of earlier runs, got fewer")
    elif n_lines > 0 and chain.links[n_lines - 1].hash != head:
        yield f"ledger must be the one that the log began with, {str(head)[:16]} at line {n_lines}, got another"
    anchors = entries.anchors.get(str(setup.get("run")), [])
    for seq, head in anchors:
        if not 0 <= seq < len(log.records):
            yield f"{AUDIT_FILE} must have seq {seq}, as the ledger says, got {len(log.records)} records: cut off"
            return
        if log.records[seq].hash != head:
            yield f"{AUDIT_FILE}: seq {seq} must have the hash that the ledger keeps, {head[:16]}, got another"
            return
    if not anchors:
        unproven.append(f"not proven: the ledger at {path} must know this run, got none of its leases and no end")
    elif log.is_ended and anchors[-1] != _last(log):
        unproven.append(f"not proven: the ledger at {path} must know the end of this run, got seq {anchors[-1][0]}")


def _last(log: LogFile) -> Anchor:
    return log.records[-1].seq, log.chain.head
