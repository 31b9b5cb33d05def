"""Proof of a run's stimulation log: nothing changed, nothing missing, nothing decided that the gate would not decide.

What is checked, each by itself, so that one fault does not hide another:

- the chain: every byte of every line, their numbers and order;
- its end: torn lines, a missing end record, and a cut tail, by the anchors in the ledger and in ``summary.json``;
- the gate: decides again on the logged inputs and must say the same, so that a log whose chain was forged is found;
  the log of another version of the gate cannot be decided again, and is not proven;
- the events: commands and refusals of ``events.jsonl`` are those of the log;
- of a blinded run the list of assignments, and the sealed boxes that the log names.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.errors import RecordingError
from neuroloop.config.places import ledger_folder
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE
from neuroloop.sinks.stimulator.gate.setup import GATE_VERSION
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, LogFile, output_record, read_log
from neuroloop.sinks.stimulator.log.events import events_of, replayed
from neuroloop.sinks.stimulator.log.ledger import LedgerError, ledger_path, read_ledger
from neuroloop.sinks.stimulator.unblinding import sealed_faults
from neuroloop.stream.contracts.events import canonical, encode

_TYPES = ("command", "refusal")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Verdict:
    """What became of a check.

    Parameters
    ----------
    findings : tuple of str
        What is wrong, one line each; empty for a run that is proven.
    open_end : str or None
        Said when the log simply stops, as a killed process leaves it: also one of ``findings``, for a cut tail can look
        the same.
    notes : tuple of str
        What could not be checked, and why.
    counts : dict
    head : str
    unproven : tuple of str
        What could not be checked and must be, for a run to count as proven.
    """

    findings: tuple[str, ...]
    open_end: str | None
    notes: tuple[str, ...]
    counts: dict[str, int]
    head: str
    unproven: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong and everything was checked."""
        return not self.findings and not self.unproven

    @property
    def is_whole_but_for_its_end(self) -> bool:
        """Whether the only thing that is wrong is that the log stops."""
        return all(finding == self.open_end for finding in self.findings)

    def line(self) -> str:
        """Say a clean run in one line."""
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items())
        beside = f"; {'; '.join(self.notes)}" if self.notes else ""
        return f"{AUDIT_FILE}: {counts}, head {self.head}{beside}"


def verify_run(run: Path, ledgers: Path | None = None) -> Verdict:
    """Check a run's log.

    Parameters
    ----------
    run : Path
        Its folder.
    ledgers : Path, optional
        Folder of the ledgers; otherwise the one that the run used. One that does not know it, as on another machine,
        is noted; then the summary must hold the end of the log.

    Raises
    ------
    RecordingError
        If the folder has no stimulation log.
    """
    path = run / AUDIT_FILE
    if not path.is_file():
        raise RecordingError(f"run must be the folder of a run that stimulates, got {str(run)!r} without {AUDIT_FILE}")
    log = read_log(path)
    findings: list[str] = []
    notes: list[str] = []
    if log.chain.fault is not None:
        findings.append(f"{AUDIT_FILE}: {log.chain.fault}")
    open_end = _open_end(log)
    if open_end is not None:
        findings.append(open_end)
    findings += _order_faults(log)
    anchors = _anchors(log, ledgers, notes, findings)
    for seq, head in anchors:
        fault = _anchor_fault(log, seq, head)
        if fault is not None:
            findings.append(fault)
            break
    findings += _summary_faults(log, run, notes, is_anchored=bool(anchors))
    unproven: list[str] = []
    version = _setup(log).get("gate", 1)
    if _setup(log) and version != GATE_VERSION:
        unproven.append(f"decisions not replayed: the log is of gate {version!r}, this program has gate {GATE_VERSION}")
    else:
        findings += _gate_faults(log)
    findings += _event_faults(log, run, notes if open_end is not None else None)
    findings += _file_faults(log, run)
    findings += sealed_faults(log, run)
    counts = Counter("inputs" if "in" in one.record else "outputs" if "out" in one.record else "acts" for one in
                     log.records)  # fmt: skip
    names = {"records": len(log.records), **{name: counts[name] for name in ("inputs", "outputs", "acts")}}
    return Verdict(tuple(findings), open_end, tuple(notes), names, log.chain.head, tuple(unproven))


def _open_end(log: LogFile) -> str | None:
    """Say it where the log stops without its last record."""
    if log.chain.fault is not None or (log.is_ended and not log.chain.torn_bytes):
        return None
    last = log.records[-1].seq if log.records else "none"
    torn = f" and {log.chain.torn_bytes} bytes of a torn one" if log.chain.torn_bytes else ""
    return f"{AUDIT_FILE} must end with its end record, got seq {last} as the last whole one{torn}: cut off, or killed"


def _order_faults(log: LogFile) -> Iterator[str]:
    """Check what stands in which order, apart from the chain."""
    expected, newest_ns = 0, -1
    for link in log.records:
        record, where = link.record, f"{AUDIT_FILE}: seq {link.seq}"
        if "in" in record:
            if record["in"] != expected:
                yield f"{where} must be input {expected}, got {record['in']!r}"
                return
            if (record["kind"] == "setup") != (expected == 0):
                yield f"{where} must be {'the setup' if expected == 0 else 'no further setup'}, got {record['kind']!r}"
                return
            if record["t_ns"] < newest_ns:
                yield f"{where} must not be before {newest_ns} ns, got {record['t_ns']}"
                return
            expected, newest_ns = expected + 1, record["t_ns"]
        elif record.get("out", record.get("of", -1)) not in range(expected):
            yield f"{where} must follow its input, got one that is not there"
            return
        elif "out" in record and record["out"] != expected - 1:
            yield f"{where} must be of input {expected - 1}, got {record['out']!r}"
            return


def _setup(log: LogFile) -> Mapping[str, Any]:
    first = log.records[0].record if log.records else {}
    values = first.get("values")
    return values if first.get("kind") == "setup" and isinstance(values, dict) else {}


def _anchors(log: LogFile, ledgers: Path | None, notes: list[str], findings: list[str]) -> list[tuple[int, str]]:
    """Return the records and hashes that the ledger keeps of this run; note it where it keeps none."""
    setup = _setup(log)
    settings, run = setup.get("settings", {}), str(setup.get("run"))
    folder = ledgers if ledgers is not None else ledger_folder(settings.get("ledger"))
    path = ledger_path(folder, str(settings.get("subject")), str(settings.get("electrode")))
    if not path.is_file():
        notes.append(f"no ledger at {path}: a cut tail would show in {SUMMARY_FILE} alone")
        return []
    try:
        anchors = read_ledger(path)[0].anchors.get(run, [])
    except LedgerError as error:
        findings.append(str(error))
        return []
    if not anchors:
        notes.append(f"the ledger at {path} does not know this run: a cut tail would show in {SUMMARY_FILE} alone")
    return list(anchors)


def _anchor_fault(log: LogFile, seq: int, head: str) -> str | None:
    """Check one record that the ledger keeps the hash of."""
    if seq >= len(log.records):
        return f"{AUDIT_FILE} must have seq {seq}, as the ledger says, got {len(log.records)} records: cut off"
    if log.records[seq].hash != head:
        return f"{AUDIT_FILE}: seq {seq} must have the hash that the ledger keeps, {head[:16]}, got another"
    return None


def _summary_faults(log: LogFile, run: Path, notes: list[str], *, is_anchored: bool) -> Iterator[str]:
    """Check the head that the run's summary keeps; without an anchor in the ledger it must be there."""
    try:
        summary = json.loads((run / SUMMARY_FILE).read_text(encoding="utf-8"))
        kept = summary["stimulation"]["log"]
    except (OSError, ValueError, KeyError, TypeError):
        if is_anchored or not log.is_ended:
            notes.append(f"no head in {SUMMARY_FILE}")
        else:
            yield f"{SUMMARY_FILE} must hold the head of the log where no ledger knows the run, got none"
        return
    if kept["head"] != log.chain.head:
        yield (
            f"{AUDIT_FILE} must have {kept['records']} records and head {kept['head'][:16]}, as {SUMMARY_FILE} says, "
            f"got {len(log.records)} and {log.chain.head[:16]}"
        )


def _gate_faults(log: LogFile) -> Iterator[str]:
    """Let the gate decide again."""
    logged: dict[int, list[tuple[int, str]]] = {}
    for link in log.records:
        if "out" in link.record:
            logged.setdefault(link.record["out"], []).append((link.seq, encode(link.record)))
    try:
        again = replayed(log)
    except (KeyError, TypeError, ValueError) as error:
        yield f"{AUDIT_FILE}: seq 0 must be a setup that a gate can be made from, got: {str(error).splitlines()[0]}"
        return
    for one, outputs in again:
        was = logged.get(one.number, [])
        wanted = [encode(output_record(one.number, output)) for output in outputs]
        is_last = one.number == again[-1][0].number and _open_end(log) is not None
        for (seq, line), now in zip(was, wanted, strict=False):
            if line != now:
                yield f"{AUDIT_FILE}: seq {seq} must be what the gate decides, {now[:160]}, got {line[:160]}"
                return
        if len(was) > len(wanted) or (len(was) < len(wanted) and not is_last):
            yield (
                f"{AUDIT_FILE}: input {one.number} ({one.kind}) must have {len(wanted)} outputs, as the gate decides, "
                f"got {len(was)}"
            )
            return


def _event_faults(log: LogFile, run: Path, notes: list[str] | None) -> Iterator[str]:
    """Compare the commands and refusals that were written as events.

    Behind the end of a log that was cut off there is nothing to compare with: that is noted.
    """
    try:
        text = (run / EVENTS_FILE).read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines() if any(f'"type":"{kind}"' in line for kind in _TYPES)]
    except (OSError, ValueError) as error:
        yield f"{EVENTS_FILE} must be whole JSON lines, got: {error}"
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


def _file_faults(log: LogFile, run: Path) -> Iterator[str]:
    """Check the files that the first record names by their hashes."""
    setup = _setup(log)
    wanted = setup.get("config_sha256")
    try:
        found = hashlib.sha256((run / CONFIG_FILE).read_bytes()).hexdigest()
    except OSError:
        found = "no file"
    if setup and wanted != found:
        yield f"{CONFIG_FILE} must be the one of the log, {str(wanted)[:16]}, got {found[:16]}"
