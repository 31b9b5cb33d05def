"""``init`` and ``schema``: a file to start from, and what settings there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import Commands

_INIT = """A commented file to start from: a preset as it is, and beside it the keys that are changed most often.

neuroloop init monitor > mine.yaml
"""
_SCHEMA = """The JSON Schema (draft 2020-12) of a configuration, for completion in an editor.

neuroloop schema > neuroloop.schema.json
"""


def add_init(commands: Commands) -> None:
    """Add ``init``."""
    parser = commands.add_parser(
        "init", help="print a commented file to start from", description=_INIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("preset", metavar="PRESET", help="which preset to start from")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it to this new file")
    parser.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.settings import run_init

    return run_init(options)


def add_schema(commands: Commands) -> None:
    """Add ``schema``."""
    parser = commands.add_parser(
        "schema", help="print the JSON Schema of all settings", description=_SCHEMA,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--markdown", action="store_true", help="print the reference of all keys instead")
    parser.set_defaults(run=_schema)


def _schema(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.settings import run_schema

    return run_schema(options)
