"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from neuroloop.stream.live.process_logs import LOG_KINDS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a command is added to."""


def add_set_option(parser: argparse.ArgumentParser, text: str = "override one setting") -> None:
    """Add ``--set``."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def add_log_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--log``."""
    parser.add_argument("--log", choices=LOG_KINDS, help="json: one object a line on standard error (default: human)")


def add_metrics_option(parser: argparse.ArgumentParser, hint: str = "usual: 9108") -> None:
    """Add ``--metrics-port``."""
    parser.add_argument("--metrics-port", type=int, metavar="P", help=f"serve Prometheus metrics ({hint})")


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which stream of a file, and how to read it."""
    parser.add_argument("--select", metavar="NAME|TYPE|ID", help="which stream of the recording")
    parser.add_argument("--sfreq", type=float, metavar="HZ", help="rate of a text recording without a time column")
    parser.add_argument("--adapter", metavar="NAME", help="read the file with this named adapter")


def add_code_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-code``."""
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="take stages of your own from runs and bundles too, not only from the configuration you name",
    )
