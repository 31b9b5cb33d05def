"""``demo``, ``run``, ``play``, ``streams`` and ``soak``: live, over Lab Streaming Layer."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import (
    Commands,
    add_code_option,
    add_log_option,
    add_metrics_option,
    add_recording_options,
    add_set_option,
)

_DEMO = """Everything on one machine, no hardware.

A process plays an amplifier over Lab Streaming Layer, the run's processes recognise its states and show them.
"""


def add_demo(commands: Commands) -> None:
    """Add ``demo``."""
    parser = commands.add_parser("demo", help="everything on one machine, no hardware", description=_DEMO)
    parser.add_argument("--seconds", type=float, metavar="N", help="how long (default: 20, with --stimulation 40)")
    parser.add_argument(
        "--stimulation", action="store_true", help="close the loop on a simulated stimulator, with a scripted operator"
    )
    parser.add_argument(
        "--kafka", action="store_true", help="16 streams, a broker and two Kafka workers, one of which is killed"
    )
    add_metrics_option(parser)
    add_log_option(parser)
    parser.add_argument("--config", help="preset or YAML file with a simulator (default: demo, or stimulation)")
    add_set_option(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the run in this new or empty folder")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="keep the last view as a picture")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.demo import run_demo

    return run_demo(options)


def add_run(commands: Commands) -> None:
    """Add ``run``."""
    parser = commands.add_parser("run", help="run a pipeline on a live stream", description="Run a pipeline live.")
    parser.add_argument("config", metavar="CONFIG", help="preset or YAML file")
    add_set_option(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds of stream")
    parser.add_argument("--out", type=Path, metavar="DIR", help="new or empty folder for the run")
    parser.add_argument(
        "--record", action="store_true", help="keep the signals in DIR/signals.xdf, for an exact replay"
    )
    add_metrics_option(parser)
    add_log_option(parser)
    parser.add_argument("--host", action="store_true", help="name this machine in the run's files")
    parser.add_argument("--rebaseline", action="store_true", help="drift monitors take new baselines from this stream")
    add_code_option(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.running import run_run

    return run_run(options)


def add_play(commands: Commands) -> None:
    """Add ``play``."""
    parser = commands.add_parser("play", help="offer a recording as an LSL stream", description="Play a recording.")
    parser.add_argument("recording", metavar="RECORDING", help="a recording, or 'simulator'")
    add_recording_options(parser)
    parser.add_argument("--name", metavar="N", help="name on the network (default: the stream's own)")
    parser.add_argument("--speed", default="1", metavar="max|X", help="multiple of real time (default: 1)")
    parser.add_argument("--chunk", type=int, default=1, metavar="N", help="samples pushed at once (default: 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument("--wait", action="store_true", help="wait for the first consumer")
    parser.add_argument("--float32", action="store_true", help="send single precision")
    parser.add_argument("--restamp", action="store_true", help="send this machine's clock in place of the recording's")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="SPEC", help="KIND@START[+DURATION][:VALUE];..."
    )
    parser.add_argument("--fault-log", type=Path, metavar="FILE", help="write the injected truth as JSON lines")
    parser.add_argument("--seconds", type=float, metavar="N", help="length of the simulated stream")
    add_set_option(parser, "a setting of the simulator")
    add_log_option(parser)
    parser.set_defaults(run=_play)


def _play(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.running import run_play

    return run_play(options)


def add_streams(commands: Commands) -> None:
    """Add ``streams``."""
    parser = commands.add_parser("streams", help="list what is on the network", description="List LSL streams.")
    parser.add_argument("--wait", type=float, default=1.5, metavar="S", help="how long to listen (default: 1.5)")
    parser.set_defaults(run=_streams)


def _streams(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.running import run_streams

    return run_streams(options)


def add_soak(commands: Commands) -> None:
    """Add ``soak``."""
    parser = commands.add_parser(
        "soak",
        help="a long run with its books balanced",
        description="A long run whose books must balance, with memory that must stay flat.",
    )
    parser.add_argument("config", metavar="CONFIG", help="preset or YAML file")
    add_set_option(parser)
    parser.add_argument("--seconds", type=float, default=600.0, metavar="N", help="how long (default: %(default)g)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the run in this new or empty folder")
    add_metrics_option(parser)
    add_log_option(parser)
    parser.set_defaults(run=_soak)


def _soak(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.soaking import run_soak

    return run_soak(options)
