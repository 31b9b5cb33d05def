"""``neuroloop verify``: prove that a run's stimulation log is whole, unchanged, and what the gate decides."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from neuroloop.sinks.run_folder.folder import CONFIG_FILE
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.plain_file import read_plain
from neuroloop.sinks.stimulator.log.verification import Verdict, verify_run
from neuroloop.sinks.stimulator.unblinding import unblind
from neuroloop.stream.assembly.provenance import code_hash


def run_verify(options: argparse.Namespace) -> int:
    """Print one line for a clean run, one per finding otherwise."""
    verdict = verify_run(options.run_folder, options.ledger, heads=options.head)
    if options.key is not None:
        opened = unblind(read_log(options.run_folder / AUDIT_FILE), options.run_folder, options.key)
        print(opened.line)
        verdict = replace(verdict, findings=(*verdict.findings, *opened.findings))
    if verdict.is_clean:
        print(verdict.line() + _written_by(verdict))
        return 0
    for line in (*verdict.findings, *verdict.unproven, *(f"note: {note}" for note in verdict.notes)):
        print(f"neuroloop verify: {line}", file=sys.stderr)
    named = _named_ledger(options.run_folder) if options.ledger is None else None
    if verdict.unproven and named is not None:
        print(f"neuroloop verify: note: the run's {CONFIG_FILE} names a ledger: --ledger {named!r}", file=sys.stderr)
    return 1 if verdict.findings else 2


def _written_by(verdict: Verdict) -> str:
    """Say which program wrote the log, where it was not this one."""
    code = verdict.program.get("code_sha256")
    if code is None or code == code_hash():
        return ""
    version, python = verdict.program.get("version"), verdict.program.get("python")
    return f"; written by neuroloop {version} on Python {python}, code {code[:16]}, which is not this one's"


def _named_ledger(run: Path) -> str | None:
    """Return the ledger that the run's configuration names.

    It is only said: files of a run that somebody made anew must not choose what they are held against.
    """
    try:
        config = yaml.safe_load(read_plain(run / CONFIG_FILE))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    stimulation = config.get("stimulation") if isinstance(config, dict) else None
    named = stimulation.get("ledger") if isinstance(stimulation, dict) else None
    return named if isinstance(named, str) else None
