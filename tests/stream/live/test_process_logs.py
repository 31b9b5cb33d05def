"""Structured logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime

from neuroloop.stream.live.process_logs import JsonLines, PlainLines, process_name


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


def test_names_in_a_line_for_people_forge_no_second_one_and_steer_no_terminal() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f.py", 1, "stream %s: gone", ("a\nFAKE \x1b[31m",), None)
    assert PlainLines().format(record) == "stream a\ufffdFAKE \ufffd[31m: gone"
    try:
        raise OSError("no\x1b[2J disk")
    except OSError:
        record.exc_info = sys.exc_info()
    lines = PlainLines().format(record).split("\n")
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "OSError: no\ufffd[2J disk"
