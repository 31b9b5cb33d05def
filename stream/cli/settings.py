"""``neuroloop schema``, ``init`` and ``check --explain``: what settings there are, and a file to start from."""

from __future__ import annotations

import argparse
import json
import sys

from neuroloop.config.errors import ConfigError
from neuroloop.config.reference_pages import explain, markdown
from neuroloop.config.schema import json_schema
from neuroloop.config.starter import SCHEMA_FILE, starter
from neuroloop.config.tree import Config


def run_schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a configuration, or the reference of its keys."""
    if options.markdown:
        print(markdown(), end="")
    else:
        print(json.dumps(json_schema(Config), indent=2, ensure_ascii=False))
    return 0


def run_init(options: argparse.Namespace) -> int:
    """Print a preset as a file to start from, or write it."""
    text = starter(options.preset)
    if options.out is None:
        print(text, end="")
    else:
        try:
            with options.out.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ConfigError(f"out must be a new file, got {str(options.out)!r}, which exists") from error
    sys.stdout.flush()
    print(f"for completion in an editor, beside the file: neuroloop schema > {SCHEMA_FILE}", file=sys.stderr)
    return 0


def run_explain(options: argparse.Namespace) -> int:
    """Print what one key means."""
    print(explain(options.explain), end="")
    return 0
