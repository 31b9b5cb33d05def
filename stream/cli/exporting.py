"""``neuroloop export``: the events of a run in the format of others."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from sinks.bids import default_name, export_bids


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export``."""
    parser = commands.add_parser("export", help="write a run's events as BIDS", description=__doc__)
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
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the files and print their names."""
    name = default_name(options.run_folder)
    given = {
        "subject": options.subject,
        "session": options.session,
        "task": options.task,
        "run": options.run_index,
        "datatype": options.datatype,
    }
    name = replace(name, **{key: value for key, value in given.items() if value is not None})
    for path in export_bids(options.run_folder, options.bids, name):
        print(path)
    return 0
