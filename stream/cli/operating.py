"""``neuroloop operator``: arm, stop and ask a run that stimulates, over its socket.

A stop needs no token. Arming, resetting and unblinding do: the one that the run showed at its start.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from neuroloop.config.errors import ConfigError
from neuroloop.sinks.stimulator.control import ask

TOKEN_VARIABLE = "NEUROLOOP_TOKEN"  # noqa: S105
_WITH_TOKEN = frozenset({"arm", "confirm", "reset", "unblind"})


def run_operator(options: argparse.Namespace) -> int:
    """Send one request and say the new state."""
    if options.token is not None:
        rule = f"in a file (--token-file), in {TOKEN_VARIABLE} or typed at the prompt"
        raise ConfigError(f"token must be {rule}, got one on the command line, which ps and the shell's history show")
    if options.override is not None and options.verb != "arm":
        raise ConfigError(f"override must be left out for {options.verb}, it belongs to arm")
    if options.area is not None and options.verb != "arm":
        raise ConfigError(f"area must be left out for {options.verb}, it belongs to arm")
    request = {"verb": options.verb, "reason": options.reason}
    if options.verb == "arm":
        area = _area(options)
        if area is not None:
            request["area_cm2"] = area
    if options.override is not None:
        request["override"] = options.override
    if options.verb in _WITH_TOKEN:
        request["token"] = _token(options)
    answer = ask(options.run_folder, request)
    line = " ".join(filter(None, (str(answer.get("state")), str(answer.get("text", "")))))
    if answer.get("accepted"):
        print(line)
        return 0
    print(f"neuroloop operator: {line}", file=sys.stderr)
    return 1


def _area(options: argparse.Namespace) -> float | None:
    """Show what will be stimulated; return the area that was given, or is typed now where it is needed."""
    shown = ask(options.run_folder, {"verb": "show"})
    print(shown.get("text", ""), file=sys.stderr)
    is_asked = bool(shown.get("needs_area")) and options.area is None
    if not is_asked or sys.stdin is None or not sys.stdin.isatty():
        return None if options.area is None else float(options.area)
    typed = input("area of the electrode in cm2, as its sheet says: ")
    try:
        return float(typed)
    except ValueError as error:
        raise ConfigError(f"area must be a number of cm2, got {typed!r}") from error


def _token(options: argparse.Namespace) -> str:
    """Return the token of the file or the environment, or ask for it where there is a terminal."""
    if options.token_file is not None:
        try:
            return str(options.token_file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token-file must be a readable file, got {str(options.token_file)!r}") from error
    if (named := os.environ.get(TOKEN_VARIABLE)) is not None:
        return named
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass("operator token: ")
    return ""
