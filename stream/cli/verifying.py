"""``neuroloop verify``: prove that a run's stimulation log is whole, unchanged, and what the gate decides."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.verification import verify_run
from neuroloop.sinks.stimulator.unblinding import unblind


def run_verify(options: argparse.Namespace) -> int:
    """Print one line for a clean run, one per finding otherwise."""
    verdict = verify_run(options.run_folder, options.ledger)
    if options.key is not None:
        opened = unblind(read_log(options.run_folder / AUDIT_FILE), options.run_folder, options.key)
        print(opened.line)
        verdict = replace(verdict, findings=(*verdict.findings, *opened.findings))
    if verdict.is_clean:
        print(verdict.line())
        return 0
    for line in (*verdict.findings, *verdict.unproven, *(f"note: {note}" for note in verdict.notes)):
        print(f"neuroloop verify: {line}", file=sys.stderr)
    return 1 if verdict.findings else 2
