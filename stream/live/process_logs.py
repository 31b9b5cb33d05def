"""How the processes say what happens: a line for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import multiprocessing
from datetime import UTC, datetime
from typing import Literal

from neuroloop.config.plain_text import clean

_MOST_LINE, _MOST_TRACEBACK = 4000, 20_000
LogKind = Literal["human", "json"]
LOG_KINDS: tuple[LogKind, ...] = ("human", "json")


class PlainLines(logging.Formatter):
    """One line a record, whatever the names in it hold; the traceback of an error below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = clean(record.getMessage(), _MOST_LINE)
        if record.exc_info:
            line += "\n" + clean(self.formatException(record.exc_info), _MOST_TRACEBACK, keep_lines=True)
        return line


class JsonLines(logging.Formatter):
    """One object a line: ``time`` (UTC), ``level``, ``logger``, ``process``, ``message``; ``traceback`` of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": process_name(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def process_name() -> str:
    """Return what this process is in a run: ``hot``, ``cold``, ``recorder``, ``amplifier``, or ``main``."""
    name = multiprocessing.current_process().name
    return "main" if name == "MainProcess" else name.removeprefix("neuroloop-")


def set_up_logs(kind: LogKind) -> None:
    """Write what this process logs to standard error; what was set up before stays."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else PlainLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
