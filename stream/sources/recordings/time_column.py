"""The time column of a text recording: which one it is, its unit, and the sampling rate that its stamps show."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.sources.recordings.recording import median
from neuroloop.stream.sources.recordings.text_table import TextTable, cell_number

_NAME = re.compile(
    r"(?:(?:lsl|unix|epoch|utc|sample|system|device|local|elapsed|relative|recording|date)?[ _-]?"
    r"(?P<word>time[ _-]?stamps?|times?)|(?P<short>datetime|timer|date|seconds?|secs?|milliseconds?|millis|t))"
    r"(?:(?:[ _/-]+|[ _-]*[\[(] *)"
    r"(?P<unit>s|secs?|seconds?|ms|msecs?|milliseconds?|us|\u00b5s|microseconds?|ns|nanoseconds?) *[\])]?)?",
    re.IGNORECASE,
)
_SCALES = {"s": 1.0, "ms": 1e3, "mi": 1e3, "us": 1e6, "\u00b5s": 1e6, "ns": 1e9, "na": 1e9}
_GAP_S = 0.25
_NEAR = 1e-3


def time_column(names: Sequence[str]) -> int | None:
    """Return the index of the first column whose name says that it is time."""
    return next((index for index, name in enumerate(names) if _NAME.fullmatch(name.strip())), None)


def is_time_name(name: str) -> bool:
    """Say whether a column's name says that it is time."""
    return _NAME.fullmatch(name.strip()) is not None


def read_times(table: TextTable, column: int, name: str) -> tuple[FloatArray, str | None]:
    """Return a time column in seconds, and a note where its unit was inferred.

    Texts are read as ISO 8601 dates (without a zone as UTC) and become seconds since 1970. Numbers are seconds unless
    the name says ``ms``, ``us`` or ``ns``; ``timer`` and ``millis`` count milliseconds; numbers of the size of a Unix
    time in ms, us or ns are taken as that.

    Raises
    ------
    RecordingError
        If a cell is no time; names the line.
    """
    if cell_number(table.cell(0, column)) is None:
        return _dates(table, column), None
    values = table.numbers([column])[:, 0]
    for row in np.flatnonzero(~np.isfinite(values))[:1].tolist():
        raise table.fault(row, f"column {name!r} must be a time, got {table.cell(row, column)!r}")
    scale, note = _scale(name, abs(float(values[0])))
    return (values / scale if scale != 1.0 else values), note


def _scale(name: str, size: float) -> tuple[float, str | None]:
    """Return how many of the column's units make a second."""
    match = _NAME.fullmatch(name.strip())
    word, unit = ((match["short"] or "").lower(), (match["unit"] or "").lower()) if match else ("", "")
    if unit.startswith("micro"):
        return 1e6, None
    if unit:
        return (1.0 if unit.startswith("se") else _SCALES[unit[:2]]), None
    if word in ("timer", "millis") or word.startswith("millisecond"):
        return 1e3, f"time column {name!r} is read as milliseconds"
    for limit, scale, label in ((1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds")):
        if size > limit:
            return scale, f"time column {name!r} is read as {label} since 1970"
    return 1.0, None


def _dates(table: TextTable, column: int) -> FloatArray:
    """Read ISO 8601 dates as seconds since 1970."""
    cells = table.cells(column)
    result = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            when = datetime.fromisoformat(cell.replace("/", "-").strip('"'))
        except ValueError:
            raise table.fault(
                row, f"column {table.name_of(column)!r} must be a number or an ISO date, got {cell[:40]!r}"
            ) from None
        passed = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        result[row] = (passed.days * 86400 + passed.seconds) + passed.microseconds / 1e6
    return result


_FEW, _MIN_USUAL = 3, 16
"""Steps that may be odd in short recordings (1 % in longer ones), and steps it takes to call them so."""


def rate_of(timestamps: FloatArray) -> float | None:
    """Estimate the nominal sampling rate from stamps; None where they do not show one.

    The number of steps over their exact sum, gaps left out: steps longer than 1.5 median steps and 0.25 s, either way,
    and where all but a few steps are within half a median step of it, those few (lost and repeated samples). The
    median step alone misjudges stamps that were rounded: 256 Hz written in whole milliseconds has a median step of
    4 ms. A rate, or below 1 Hz a period, within 0.1 % of a whole number is that number.

    Parameters
    ----------
    timestamps : array, shape (n_samples,), seconds
    """
    with np.errstate(all="ignore"):
        steps = np.diff(timestamps)
    values = steps.tolist()
    forward = [step for step in values if step > 0]
    if not forward or not all(math.isfinite(step) for step in values):
        return None
    middle = median(forward)
    longest = max(1.5 * middle, _GAP_S)
    kept = [step for step in values if abs(step) <= longest]
    usual = [step for step in kept if abs(step - middle) < 0.5 * middle]
    if len(usual) >= _MIN_USUAL and len(kept) - len(usual) <= max(_FEW, len(kept) // 100):
        kept = usual
    total_s = math.fsum(kept)
    if not 1e-12 < total_s < math.inf:
        return None
    rate = len(kept) / total_s
    if rate < 1.0:
        period = _whole_if_near(1.0 / rate)
        return 1.0 / period if period.is_integer() else rate
    return _whole_if_near(rate)


def _whole_if_near(value: float) -> float:
    whole = float(round(value))
    return whole if whole and abs(value - whole) <= _NEAR * whole else value
