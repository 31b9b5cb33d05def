"""How the processes say what happens: a line for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import multiprocessing
from datetime import UTC, datetime
from typing import Literal

LogKind = Literal["human", "json"]
LOG_KINDS: tuple[LogKind, ...] = ("human", "json")


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
    handler.setFormatter(JsonLines() if kind == "json" else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
