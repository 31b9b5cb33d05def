"""``train`` and ``evaluate``: make a bundle, measure a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import Commands, add_code_option, add_set_option


def add_train(commands: Commands) -> None:
    """Add ``train``."""
    parser = commands.add_parser("train", help="train a bundle", description="Train the bundle of a pipeline.")
    parser.add_argument("config", help="preset or YAML file with a 'train' section")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the training data (recipe simulator: none)")
    parser.add_argument("--out", required=True, type=Path, metavar="BUNDLE", help="new or empty folder for the bundle")
    add_set_option(parser)
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.training import run_train

    return run_train(options)


def add_evaluate(commands: Commands) -> None:
    """Add ``evaluate``."""
    parser = commands.add_parser("evaluate", help="measure a bundle", description="Run a bundle over labelled data.")
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle, or the name of a shipped one")
    parser.add_argument("data", type=Path, metavar="DATA", help="labelled data: a folder or a file")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for report.json")
    add_code_option(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.training import run_evaluate

    return run_evaluate(options)
