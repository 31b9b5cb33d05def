"""The books of stimulation, for ``summary.json``: taken from the audit log alone, so that they outlive its writer."""

from __future__ import annotations

from collections import Counter
from typing import Any

from neuroloop.sinks.stimulator.log.audit import LogFile


def summary_of(log: LogFile) -> dict[str, Any]:
    """Return what a run's log says was given, refused and stopped.

    Returns
    -------
    dict
        ``doses`` (begun), ``doses_full``, ``on_s``; ``session_charge_mc`` and ``day_charge_mc`` of the ledger;
        ``commands``, ``refusals`` by rule, ``transitions`` by state; and of the log: ``records``, ``head`` (SHA-256 of
        its last line), ``ended``, ``torn_bytes``.
    """
    commands: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    transitions: Counter[str] = Counter()
    on_s, n_full = 0.0, 0
    charges: dict[str, Any] = {}
    for link in log.records:
        record = link.record
        if "in" in record:
            if record["kind"] == "end":
                charges = dict(record["values"].get("charge", {}))
            continue
        values = record.get("values", {})
        kind = record.get("kind")
        if kind == "command":
            commands[values["action"]] += 1
        elif kind == "refusal":
            refusals.update({rule["rule"] for rule in values["rules"]})
        elif kind == "transition":
            transitions[values["to"]] += 1
        elif kind == "note" and values.get("what") == "dose":
            on_s += values["on_s"]
            n_full += bool(values["is_full"])
    return {
        "doses": commands["start"],
        "doses_full": n_full,
        "on_s": on_s,
        "session_charge_mc": _milli(charges.get("session_uc")),
        "day_charge_mc": _milli(charges.get("day_uc")),
        "commands": dict(sorted(commands.items())),
        "refusals": dict(sorted(refusals.items())),
        "transitions": dict(sorted(transitions.items())),
        "log": {
            "records": len(log.records),
            "head": log.chain.head,
            "ended": log.is_ended,
            "torn_bytes": log.chain.torn_bytes,
        },
    }


def _milli(charge_uc: float | None) -> float | None:
    return None if charge_uc is None else charge_uc * 1e-3
