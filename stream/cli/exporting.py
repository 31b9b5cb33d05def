"""``neuroloop export``: the events of a run in the format of others."""

from __future__ import annotations

import argparse
from dataclasses import replace

from neuroloop.sinks.bids.export import default_name, export_bids


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
