"""``replay``, ``check``, ``report``, ``export`` and ``baseline``: over files, without a stream."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.config.errors import ConfigError
from neuroloop.stream.cli.arguments.shared import Commands, add_code_option, add_recording_options, add_set_option


def add_replay(commands: Commands) -> None:
    """Add ``replay``."""
    parser = commands.add_parser(
        "replay", help="run a pipeline over a recording", description="The same pipeline over a recording."
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a recording, or the folder of a run")
    parser.add_argument("--config", help="preset or YAML file (default for the folder of a run: its own)")
    add_set_option(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new or empty folder for the run")
    add_recording_options(parser)
    parser.add_argument("--chunk", metavar="N|random:SEED", help="samples a chunk; changes no result")
    parser.add_argument("--speed", default="max", metavar="max|X", help="multiple of real time")
    parser.add_argument("--rebaseline", action="store_true", help="drift monitors take new baselines from this stream")
    parser.add_argument(
        "--dump", action="append", default=[], metavar="STAGE=FILE.npz", help="write the output of one stage"
    )
    parser.add_argument("--sinks", action="store_true", help="hand the events to the sinks of the configuration, too")
    add_code_option(parser)
    parser.set_defaults(run=_replay)


def _replay(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.replaying import run_replay

    return run_replay(options)


def add_check(commands: Commands) -> None:
    """Add ``check``."""
    parser = commands.add_parser(
        "check",
        help="find all faults of a configuration",
        description="All faults of a configuration, then what it would compute.",
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="preset or YAML file")
    parser.add_argument("--explain", metavar="KEY", help="say what one key means, such as source.timing, and no more")
    parser.add_argument(
        "--stream", type=Path, metavar="RECORDING", help="make the plan for this recording, or for CHANNELSxHZ"
    )
    add_recording_options(parser)
    add_set_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--prove", action="store_true", help="put stages and a policy of your own through the tests of ours"
    )
    add_code_option(parser)
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    if options.explain is not None:
        from neuroloop.stream.cli.settings import run_explain

        return run_explain(options)
    if options.config is None:
        raise ConfigError("config must be given (a preset or a YAML file, or --explain KEY), got nothing")
    from neuroloop.stream.cli.checking import run_check

    return run_check(options)


def add_report(commands: Commands) -> None:
    """Add ``report``."""
    parser = commands.add_parser(
        "report", help="draw a run as one HTML page", description="A run as one self-contained HTML page."
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: report.html in the run's folder")
    parser.add_argument(
        "--signals",
        type=Path,
        metavar="FILE",
        help="the samples, such as a dump of the input; default: signals.xdf",
    )
    parser.add_argument("--select", metavar="NAME|TYPE|ID", help="which stream of the signals")
    parser.add_argument("--channels", metavar="A,B,...", help="channels to draw; default: the first ones")
    parser.add_argument(
        "--event", action="append", default=[], metavar="TYPE|ID", help="show signals around these events"
    )
    parser.add_argument("--around", type=float, default=2.0, metavar="S", help="seconds around an event (default: 2)")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.reporting import run_report

    return run_report(options)


def add_export(commands: Commands) -> None:
    """Add ``export``."""
    parser = commands.add_parser(
        "export", help="write a run's events as BIDS", description="The events of a run in the format of others."
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--bids", type=Path, required=True, metavar="DIR", help="root of the dataset; made where there is none"
    )
    parser.add_argument("--subject", metavar="LABEL", help="default: the configuration's subject")
    parser.add_argument("--session", metavar="LABEL", help="default: none")
    parser.add_argument("--task", metavar="LABEL", help="default: the configuration's name")
    parser.add_argument("--run-index", metavar="N", help="BIDS 'run' of the file names (default: none)")
    parser.add_argument(
        "--datatype", choices=("eeg", "ieeg", "beh"), help="default: ieeg for an implanted electrode, otherwise eeg"
    )
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.exporting import run_export

    return run_export(options)


def add_baseline(commands: Commands) -> None:
    """Add ``baseline make`` and ``baseline show``."""
    parser = commands.add_parser(
        "baseline",
        help="make or show baselines of drift monitors",
        description="Make the baselines of drift monitors from a recording, and look at them.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("make", help="make the baselines of a configuration's monitors from a recording")
    make.add_argument("recording", type=Path, metavar="RECORDING", help="a recording of what counts as normal")
    make.add_argument("--config", required=True, help="preset or YAML file with a 'drift' section")
    add_set_option(make)
    make.add_argument("--out", required=True, type=Path, metavar="FILE", help="new JSON file")
    add_recording_options(make)
    make.set_defaults(run=_baseline_make)
    show = actions.add_parser("show", help="print what a file of baselines holds")
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(run=_baseline_show)


def _baseline_make(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.baseline import run_make

    return run_make(options)


def _baseline_show(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.baseline import run_show

    return run_show(options)
