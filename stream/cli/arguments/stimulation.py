"""``operator`` and ``verify``: steer a run that stimulates, prove its log."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import Commands

_VERBS = ("show", "arm", "confirm", "stop", "disarm", "reset", "unblind", "status")
_OPERATOR = """Arm, stop and ask a run that stimulates, over its socket.

A stop needs no token. Arming, resetting and unblinding do: the one that the run showed at its start. Arming says first
which electrode, of what area, and which limits; for a device that is not simulated the area is asked for.
"""


def add_operator(commands: Commands) -> None:
    """Add ``operator``."""
    parser = commands.add_parser("operator", help="arm or stop a run that stimulates", description=_OPERATOR)
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the running run")
    parser.add_argument("verb", choices=_VERBS, metavar="VERB", help=", ".join(_VERBS))
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--token", help=argparse.SUPPRESS)  # refused by name: it must not be taken for --token-file
    given.add_argument(
        "--token-file",
        type=Path,
        metavar="F",
        help="file that holds the token, such as RUN/operator.token (otherwise NEUROLOOP_TOKEN, or the prompt)",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="goes into the log; a reset needs one")
    parser.add_argument(
        "--area", type=float, metavar="CM2", help="arm: the electrode's area in cm2, read from its sheet (real devices)"
    )
    parser.add_argument("--override", metavar="STATE", help="arm: name the state whose recommendation needs it")
    parser.set_defaults(run=_operator)


def _operator(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.operating import run_operator

    return run_operator(options)


def add_verify(commands: Commands) -> None:
    """Add ``verify``."""
    parser = commands.add_parser(
        "verify",
        help="prove a run's stimulation log",
        description="Prove that a run's stimulation log is whole, unchanged, and what the gate decides.",
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run that stimulates")
    parser.add_argument("--ledger", type=Path, metavar="DIR", help="folder of the charge ledgers (default: the run's)")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="HASH",
        help="a hash that was noted at arming or at the end, 16 characters or more; may be given several times",
    )
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.verifying import run_verify

    return run_verify(options)
