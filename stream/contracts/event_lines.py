"""Lines of ``events.jsonl`` as they are read again: checked in every field that this program uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from neuroloop.config.json_text import parse_json

_MOST_SAMPLE = 1 << 53
_Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_sample(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_SAMPLE


def _is_identity(value: Any) -> bool:
    last = value.rpartition("/")[2] if isinstance(value, str) else ""
    return last.isascii() and last.isdecimal() and len(last) < 16


def _are_rules(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and _is_text(one.get("rule")) for one in value)


_KINDS: dict[_Check, str] = {
    _is_text: "text",
    _is_text_or_none: "text or null",
    _is_number: "a finite number",
    _is_number_or_none: "a finite number or null",
    _is_sample: "a whole number below 2^53 in size",
    _is_identity: "text that ends with / and a number",
    _are_rules: "a list of objects with a rule",
}
_EVERY: dict[str, _Check] = {
    "id": _is_identity,
    "type": _is_text,
    "stream": _is_text,
    "sample": _is_sample,
    "time": _is_number_or_none,
}
_OF_TYPE: dict[str, dict[str, _Check]] = {
    "state": {"state": _is_text},
    "marker": {"label": _is_text},
    "artifact": {"kind": _is_text, "duration_s": _is_number_or_none, "first_sample": _is_sample},
    "gap": {"duration_s": _is_number_or_none, "first_missing": _is_sample},
    "stream": {"what": _is_text},
    "refusal": {"what": _is_text, "state": _is_text_or_none, "rules": _are_rules},
    "command": {"action": _is_text},
}
_NUMBERS = (
    "amplitude_ma", "frequency_hz", "pulse_width_us", "charge_per_phase_uc", "shannon_k", "delay_s", "sfreq",
    "duration_s", "confidence",
)  # fmt: skip
_WHERE_GIVEN: dict[str, _Check] = dict.fromkeys(_NUMBERS, _is_number_or_none)


def parse_event(line: str | bytes) -> dict[str, Any]:
    """Parse one line.

    Raises
    ------
    ValueError
        If it is no JSON object, or a field that this program uses is missing or of another kind; the message names it.
    """
    record = parse_json(line)
    if not isinstance(record, dict):
        raise ValueError(f"line must be one JSON object, got {str(record)[:40]!r}")
    check_event(record)
    return record


def check_event(record: Mapping[str, Any]) -> None:
    """Check the fields of a parsed line; as `parse_event`."""
    kind = record.get("type")
    needed = _EVERY | (_OF_TYPE.get(kind, {}) if isinstance(kind, str) else {})
    for name, check in needed.items():
        if name not in record:
            raise ValueError(f"{name} must be given, got nothing")
        _judge(name, check, record[name])
    for name, check in _WHERE_GIVEN.items():
        if name in record:
            _judge(name, check, record[name])
    if kind == "stream" and record["what"] == "start" and not _is_number(record.get("sfreq")):
        raise ValueError(f"sfreq must be a finite number, got {str(record.get('sfreq'))[:40]!r}")


def _judge(name: str, check: _Check, value: Any) -> None:
    if not check(value) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name} must be {_KINDS[check]}, got {str(value)[:40]!r}")
