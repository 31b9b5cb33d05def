"""What can be proven of a blinded run: by everybody that nothing was changed, by the third party what was given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.blinding import LIST_FILE, BlindingError, commit, entry_of, open_list
from neuroloop.sinks.stimulator.log.audit import LogFile
from neuroloop.sinks.stimulator.sealed_record import SEALED_FILE, box_hashes, open_boxes
from neuroloop.sinks.stimulator.sealing import SealError, read_private

_LATE_S = 0.3
"""A sham has turned round at the latest so long, and two leases, behind its ramp up."""


@dataclass(frozen=True)
class Unblinded:
    """What a run gave, for the third party.

    Parameters
    ----------
    findings : tuple of str
        What is wrong, one line each.
    line : str
        What was given, in one line.
    """

    findings: tuple[str, ...]
    line: str


def _assignment(log: LogFile) -> Mapping[str, str] | None:
    values = log.records[0].record.get("values") if log.records else None
    found = values.get("assignment") if isinstance(values, dict) else None
    return found if isinstance(found, dict) else None


def sealed_faults(log: LogFile, run: Path) -> Iterator[str]:
    """Check what needs no key: the list, the boxes that the log names, and what an operator was told."""
    assignment = _assignment(log)
    if assignment is None:
        return
    try:
        text = (run / LIST_FILE).read_bytes()
        entry = entry_of(text, assignment["subject"], assignment["visit"])
    except (OSError, BlindingError) as error:
        yield f"{LIST_FILE} must be there and whole, got: {error}"
    else:
        if hashlib.sha256(text).hexdigest() != assignment["list_sha256"]:
            yield f"{LIST_FILE} must be the one of the log, {assignment['list_sha256'][:16]}, got another"
        elif entry is None or entry["commitment"] != assignment["commitment"]:
            yield f"{LIST_FILE} must commit to what the log does, {assignment['commitment'][:16]}, got another"
    for link in log.records:
        one = link.record
        if one.get("act") != "unblind":
            continue
        said = commit(assignment["subject"], assignment["visit"], str(one.get("arm")), str(one.get("salt")))
        if said != assignment["commitment"]:
            yield f"unblind must say what the log commits to, {assignment['commitment'][:16]}, got another"
    named = [str(link.record["box"]) for link in log.records if "box" in link.record]
    n_acts = sum(link.record.get("act") not in (None, "unblind") for link in log.records)
    try:
        found = box_hashes(run / SEALED_FILE)
    except OSError as error:
        yield f"{SEALED_FILE} must be there, got: {error.strerror}"
        return
    if len(named) != n_acts or found[: len(named)] != named or (log.is_ended and len(found) != len(named)):
        yield f"{SEALED_FILE} must have the boxes that the log names, one for each of {n_acts} acts, got others"


def unblind(log: LogFile, run: Path, key_file: Path) -> Unblinded:
    """Open what a run sealed and hold it against its log.

    Parameters
    ----------
    log : LogFile
    run : Path
        Its folder.
    key_file : Path
        The third party's.

    Raises
    ------
    SealError
        If the run is not blinded, or was sealed for another key.
    """
    assignment = _assignment(log)
    if assignment is None:
        raise SealError("run must be a blinded one to be opened with a key, got another")
    key = read_private(key_file)
    try:
        arms = open_list((run / LIST_FILE).read_bytes(), key)
        boxes = list(open_boxes(run / SEALED_FILE, key))
    except OSError as error:
        raise SealError(f"sealed files must be readable, got {error.filename}: {error.strerror}") from error
    subject, visit = assignment["subject"], assignment["visit"]
    arm, salt = arms.get((subject, visit), (None, ""))
    findings = []
    if arm is None or commit(subject, visit, arm, salt) != assignment["commitment"]:
        findings.append(f"{LIST_FILE} must hold the arm that the log commits to, got another")
    notes = [note for box in boxes for note in box]
    if not notes or notes[0].get("arm") != arm or notes[0].get("commitment") != assignment["commitment"]:
        findings.append(f"{SEALED_FILE} must be of the arm of the list, {arm}, got another")
    sent = [note for note in notes if "sent" in note]
    findings += _hand_over_faults(log, sent, is_sham=arm == "sham")
    charges = _charge_uc(notes)
    line = f"{subject}, {visit}: {arm}; {len(sent)} commands reached the device as this arm asks"
    return Unblinded(tuple(findings), f"{line}; by its own count it delivered {charges:.6g} uC")


def _charge_uc(notes: list[dict[str, Any]]) -> float:
    """Return the charge by the device's own count, over all times that it was armed."""
    total, last = 0.0, 0.0
    for note in notes:
        uc = note.get("delivered_uc")
        if uc is not None:
            total += uc - last if uc >= last else uc
            last = uc
    return total


def _hand_over_faults(log: LogFile, sent: list[dict[str, Any]], *, is_sham: bool) -> Iterator[str]:
    """Hold what was handed over against the leases that the gate granted."""
    granted = {output.lease.number: output.lease for _, output in log.outputs() if output.lease is not None}
    acts = [link.record for link in log.records if link.record.get("act") not in (None, "unblind")]
    if not any("fault" in act for act in acts):
        expected = [name for act in acts for name in (("stop", "disarm") if act["act"] == "disarm" else (act["act"],))]
        found = [note["sent"] for note in sent]
        if len(found) != len(expected) or (not is_sham and found != expected):
            yield f"{SEALED_FILE} must have the {len(expected)} commands of the log, got {len(found)} or others"
    begun_ns, is_down, ramp_s = 0, False, math.inf
    for note in sent:
        values = note.get("lease")
        if note["sent"] == "start":
            begun_ns, is_down = note["t_ns"], False
        if values is None:
            continue
        lease = granted.get(values["number"])
        if lease is None:
            yield f"{SEALED_FILE}: lease {values['number']} must be one that the gate granted, got another"
            return
        ma, due = values["train"]["amplitude_ma"], asdict(lease)
        if note["sent"] == "start":
            ramp_s = ma / lease.slew_ma_s
        due["train"]["amplitude_ma"] = ma if is_sham else lease.train.amplitude_ma
        if values != due or not 0 <= ma <= lease.train.amplitude_ma:
            yield f"{SEALED_FILE}: lease {lease.number} must be as the gate granted it, got another"
        is_late = (note["t_ns"] - begun_ns) * 1e-9 > ramp_s + 2 * lease.duration_s + _LATE_S
        if is_sham and ma > 0 and (is_down or is_late):
            yield f"{SEALED_FILE}: lease {lease.number} must ask for nothing behind the ramp of a sham, got {ma} mA"
        is_down = is_down or ma == 0
