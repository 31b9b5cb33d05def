"""``operator``, ``verify`` and ``blinding``: steer a run that stimulates, prove its log, deal real and sham."""

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
    parser.add_argument("--key", type=Path, metavar="FILE", help="the third party's key: open a blinded run")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.verifying import run_verify

    return run_verify(options)


_BLINDING = """Deal real and sham to subjects and visits, sealed; for a third party who is not at the rig.

`keys` makes the third party's key, which never leaves its hands. `list` makes a sealed list and the delivery key that
opens single entries: both go to the account that runs the stimulator. `show` prints the arms of a list.
"""


def add_blinding(commands: Commands) -> None:
    """Add ``blinding``."""
    parser = commands.add_parser("blinding", help="deal real and sham, sealed", description=_BLINDING)
    verbs = parser.add_subparsers(required=True, metavar="keys|list|show")
    keys = verbs.add_parser("keys", help="make the third party's key")
    keys.add_argument("folder", type=Path, metavar="DIR", help="gets third-party.key")
    keys.set_defaults(run=_blinding, verb="keys")
    made = verbs.add_parser("list", help="make a sealed list and its delivery key")
    made.add_argument("--key", type=Path, required=True, metavar="FILE", help="the third party's key")
    made.add_argument("--subjects", type=Path, required=True, metavar="FILE", help="a line each: subject[,stratum]")
    made.add_argument("--visits", required=True, metavar="V1,V2", help="names of the visits")
    made.add_argument("--blocks", default="4", metavar="N,N", help="even lengths of blocks, drawn from (default: 4)")
    made.add_argument("--seed", metavar="TEXT", help="makes the same arms again (default: drawn, kept in the list)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets assignments.sealed and delivery.key")
    made.set_defaults(run=_blinding, verb="list")
    show = verbs.add_parser("show", help="print the arms of a list")
    show.add_argument("list_file", type=Path, metavar="LIST", help="assignments.sealed")
    show.add_argument("--key", type=Path, required=True, metavar="FILE", help="the third party's key")
    show.set_defaults(run=_blinding, verb="show")


def _blinding(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.blinding import run_blinding

    return run_blinding(options)
