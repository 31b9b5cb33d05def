"""A simulated device's own record, held against the leases of the log: nothing came out that was not granted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.log.audit import LogFile
from neuroloop.sinks.stimulator.log.plain_file import read_plain, reason_of

DEVICE_FILE = "device.jsonl"
_EXACT = 1e-9
"""Relative; what is left of decimal fractions in binary."""
_MOST_SHOWN = 3


def device_faults(log: LogFile, run: Path) -> Iterator[str]:
    """Check ``device.jsonl`` of a run; the log's setup must say that the device is a simulated one.

    Raises
    ------
    OSError
        If the record cannot be read.
    """
    leases: dict[int, tuple[Mapping[str, Any], int]] = {}
    t_ns = 0
    for link in log.records:
        record = link.record
        if "in" in record:
            t_ns = record["t_ns"]
        elif "out" in record and record.get("lease") is not None:
            leases[int(record["lease"]["number"])] = (record["lease"], t_ns)
    before: Mapping[str, Any] | None = None
    n_faults, is_on = 0, False
    for number, line in enumerate(read_plain(run / DEVICE_FILE).split(b"\n")[:-1], start=1):
        where = f"{DEVICE_FILE}: line {number}"
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            one = None
        if not isinstance(one, dict):
            yield f"{where} must be one JSON object, got {line[:40]!r}"
            continue
        if one.get("what") == "edge":
            is_on = bool(one.get("is_on"))
        if one.get("what") != "interval":
            continue
        for fault in _interval_faults(one, before, leases):
            n_faults += 1
            if n_faults <= _MOST_SHOWN:
                yield f"{where} {fault}"
        before = one
    if n_faults > _MOST_SHOWN:
        yield f"{DEVICE_FILE} must hold what the log granted, got {n_faults} that it did not in all"
    if is_on and log.is_ended:
        yield f"{DEVICE_FILE} must end with the output off, got on"


def unreadable(error: OSError) -> str:
    """Say that the record cannot be checked."""
    return f"what the simulated device delivered is not proven: {DEVICE_FILE} must be readable, got {reason_of(error)}"


def _interval_faults(
    one: Mapping[str, Any], before: Mapping[str, Any] | None, leases: Mapping[int, tuple[Mapping[str, Any], int]]
) -> Iterator[str]:
    """Check one time with the output on."""
    said = one["lease"]
    if one["is_granted"] is not True:
        yield f"must be under a lease, got the output on without one for {(one['off_ns'] - one['on_ns']) * 1e-9:g} s"
        return
    if said["number"] not in leases:
        yield f"must be under a lease of the log, got lease {said['number']!r}"
        return
    granted, decided_ns = leases[said["number"]]
    train = granted["train"]
    for name in ("waveform", "frequency_hz", "pulse_width_us"):
        if said[name] != train[name]:
            yield f"must have the {name} of its lease, {train[name]!r}, got {said[name]!r}"
    on_ns, off_ns, from_ma, to_ma = one["on_ns"], one["off_ns"], float(one["from_ma"]), float(one["to_ma"])
    seconds, most_s = (off_ns - on_ns) * 1e-9, float(granted["duration_s"])
    if not 0 <= seconds <= most_s * (1 + _EXACT) + 2e-9:
        yield f"must be on for at most the {most_s:g} s of its lease, got {seconds:g}"
    if on_ns < decided_ns:
        yield f"must not be on before its lease was decided upon, {decided_ns} ns, got {on_ns}"
    goes_on = before is not None and before["ended_by"] == "renewed" and before["off_ns"] == on_ns
    start_ma = float(before["to_ma"]) if goes_on and before is not None else 0.0
    if from_ma > start_ma * (1 + _EXACT):
        yield f"must begin at most where the output was, {start_ma:g} mA, got {from_ma:g}"
    most_ma = max(from_ma, float(train["amplitude_ma"]))
    if not max(from_ma, to_ma) <= most_ma * (1 + _EXACT):
        yield f"must have at most the {most_ma:g} mA of its lease, got {max(from_ma, to_ma):g}"
    rise_s = (one["reached_ns"] - on_ns) * 1e-9
    if to_ma - from_ma > float(granted["slew_ma_s"]) * rise_s * (1 + _EXACT) + _EXACT:
        rate = (to_ma - from_ma) / rise_s if rise_s > 0 else math.inf
        yield f"must rise by at most the {granted['slew_ma_s']:g} mA/s of its lease, got {rate:g}"
