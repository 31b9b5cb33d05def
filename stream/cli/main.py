"""``neuroloop``: parse the command line, run one command, say every failure in one clear line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.kinds import allowing_code
from neuroloop.config.nearest import did_you_mean
from neuroloop.config.plain_text import clean
from neuroloop.stream.cli.arguments.files import add_baseline, add_check, add_export, add_replay, add_report
from neuroloop.stream.cli.arguments.kafka import add_bridge, add_broker, add_worker
from neuroloop.stream.cli.arguments.live import add_demo, add_play, add_run, add_soak, add_streams
from neuroloop.stream.cli.arguments.machine import add_doctor, add_latency
from neuroloop.stream.cli.arguments.models import add_evaluate, add_train
from neuroloop.stream.cli.arguments.settings import add_init, add_schema
from neuroloop.stream.cli.arguments.shared import Commands
from neuroloop.stream.cli.arguments.stimulation import add_blinding, add_operator, add_verify
from neuroloop.stream.live.process_logs import set_up_logs

_COMMANDS = (
    add_demo,
    add_run,
    add_play,
    add_streams,
    add_replay,
    add_operator,
    add_verify,
    add_blinding,
    add_check,
    add_init,
    add_schema,
    add_train,
    add_evaluate,
    add_doctor,
    add_report,
    add_export,
    add_baseline,
    add_soak,
    add_latency,
    add_broker,
    add_bridge,
    add_worker,
)
"""In the order of the help."""


_MOST_LINE = 4000
_NOBODY_ELSE = 0o077
"""What is written holds a person's data: files are 0600 and folders 0700, for the account alone that runs this."""


class _Parser(argparse.ArgumentParser):
    """Says a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and leave with status 2."""
        print(f"{self.prog}: {clean(message, _MOST_LINE)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name what was probably meant where a command or a choice is not known."""
        if action.choices is not None and value not in action.choices:
            known = [str(one) for one in action.choices]
            rule = f"must be one of {', '.join(known)}{did_you_mean(str(value), known)}"
            raise argparse.ArgumentError(action, f"{rule}, got {value!r}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(prog="neuroloop", description="Real-time streaming signal processor.")
    parser.add_argument("--version", action="version", version=f"neuroloop {version('neuroloop')}")
    commands: Commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for add_command in _COMMANDS:
        add_command(commands)
    return parser


def _say(options: argparse.Namespace, fault: str) -> None:
    """Print a fault in one line, as an object where the command logs so."""
    if getattr(options, "log", None) == "json":
        set_up_logs("json")
        logging.getLogger(f"neuroloop.{options.command}").error("%s", fault)
    else:
        print(f"neuroloop {options.command}: {fault}", file=sys.stderr)


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
    before = os.umask(_NOBODY_ELSE)
    try:
        with allowing_code(getattr(options, "allow_code", False)):
            status = int(options.run(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except NeuroloopError as error:
        for line in error.lines():
            _say(options, line)
        return 1
    except KeyboardInterrupt:
        _say(options, "stopped by the user")
        return 130
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        got = f"{error.filename!r}: {error.strerror}" if error.filename else str(error.strerror or error)
        _say(options, f"files must be readable and writable, got {got}")
        _drop_output()
        return 1
    except MemoryError:
        _say(options, "memory must be enough for the data, got none left")
        return 1
    finally:
        os.umask(before)


if __name__ == "__main__":
    sys.exit(main())
