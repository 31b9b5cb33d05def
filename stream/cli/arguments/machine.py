"""``doctor`` and ``latency``: what this machine is fit for."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import Commands, add_log_option, add_set_option


def add_doctor(commands: Commands) -> None:
    """Add ``doctor``."""
    parser = commands.add_parser(
        "doctor",
        help="find what is wrong with this machine",
        description="What is wrong with this machine, and what to do about it.",
    )
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder that runs would be written to")
    parser.add_argument("--quick", action="store_true", help="in two seconds, without the network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.doctor import run_doctor

    return run_doctor(options)


def add_latency(commands: Commands) -> None:
    """Add ``latency``."""
    parser = commands.add_parser(
        "latency",
        help="measure the closed loop on this machine",
        description="Close the loop on this machine and say how long it takes, from sample in to output on.",
    )
    parser.add_argument("config", metavar="CONFIG", help="preset or YAML file that stimulates (preset: latency)")
    add_set_option(parser)
    parser.add_argument("--events", type=int, default=1000, metavar="N", help="onsets (default: %(default)d)")
    parser.add_argument("--stops", type=int, default=1000, metavar="N", help="operator's stops (default: %(default)d)")
    parser.add_argument(
        "--null", type=int, metavar="N", help="onsets of the null pipeline beside it (default: as --events; 0: none)"
    )
    parser.add_argument("--seed", type=int, default=20_260, metavar="N", help="of the onsets (default: %(default)d)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep everything in this new or empty folder")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="histogram (with --out: latency.png in it)")
    parser.add_argument(
        "--loopback-channel",
        metavar="NAME",
        help="the output is wired back into this channel of the amplifier's stream: its rising edges are the output",
    )
    add_log_option(parser)
    parser.set_defaults(run=_latency)


def _latency(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.latency import run_latency

    return run_latency(options)
