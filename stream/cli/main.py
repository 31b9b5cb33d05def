"""``neuroloop``: parse the command line, run one command, say every failure in one clear line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from config.loading import ConfigFaults
from stream.cli import baseline, checking, demo, doctor, replaying, reporting, running, training
from stream.contracts import NeuroloopError

_COMMANDS = (demo, running, replaying, checking, training, doctor, reporting, baseline)


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and leave with status 2."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(prog="neuroloop", description="Real-time streaming signal processor.")
    parser.add_argument("--version", action="version", version=f"neuroloop {version('neuroloop')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in _COMMANDS:
        module.add_commands(commands)
    return parser


def _drop_output() -> None:
    """Send what is still to be printed nowhere, so that leaving does not fail on it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process otherwise.

    Returns
    -------
    int
        0, or not 0 after one clear line per fault on standard error.
    """
    options = build_parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (NeuroloopError, ConfigFaults) as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            print(f"neuroloop {options.command}: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"neuroloop {options.command}: stopped by the user", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        got = f"{error.filename!r}: {error.strerror}" if error.filename else str(error.strerror or error)
        print(f"neuroloop {options.command}: files must be readable and writable, got {got}", file=sys.stderr)
        _drop_output()
        return 1
    except MemoryError:
        print(f"neuroloop {options.command}: memory must be enough for the data, got none left", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
