"""``neuroloop verify``: prove that a run's stimulation log is whole, unchanged, and what the gate decides."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sinks.stimulator.log.verification import verify_run


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verify``."""
    parser = commands.add_parser("verify", help="prove a run's stimulation log", description=__doc__)
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run that stimulates")
    parser.add_argument("--ledger", type=Path, metavar="DIR", help="folder of the charge ledgers (default: the run's)")
    parser.set_defaults(run=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """Print one line for a clean run, one per finding otherwise."""
    verdict = verify_run(options.run_folder, options.ledger)
    if verdict.is_clean:
        print(verdict.line())
        return 0
    for line in (*verdict.findings, *(f"note: {note}" for note in verdict.notes)):
        print(f"neuroloop verify: {line}", file=sys.stderr)
    return 1
