"""Structured logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime

from neuroloop.stream.live.process_logs import JsonLines, process_name


def line_of(message: str, *arguments: object, **options: object) -> dict[str, str]:
    record = logging.LogRecord("neuroloop.hot", logging.WARNING, "f.py", 1, message, arguments, None)
    record.__dict__.update(options)
    text = JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, str] = json.loads(text)
    return found


def test_a_record_becomes_one_object_on_one_line() -> None:
    found = line_of('%d samples of "%s"\nlost', 3, "Cz")
    assert list(found) == ["time", "level", "logger", "process", "message"]
    assert (found["level"], found["logger"]) == ("warning", "neuroloop.hot")
    assert found["message"] == '3 samples of "Cz"\nlost'
    assert found["process"] == process_name()
    assert datetime.fromisoformat(found["time"]).utcoffset() is not None


def test_an_error_brings_its_traceback_along() -> None:
    try:
        raise OSError("no disk")
    except OSError:
        found = line_of("failed", exc_info=sys.exc_info())
    assert found["traceback"].endswith("OSError: no disk")
