"""JSON values of the gate's inputs, taken by key and checked; what is not as agreed is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def _plain(values: Mapping[str, Any], key: str) -> Any:
    """Return a value as it stands in a log, which has null for numbers that are none."""
    value = values.get(key)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(values: Mapping[str, Any], key: str) -> float:
    """Return a finite number. Raises ValueError where there is none."""
    value = _plain(values, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} must be a finite number, got {value!r}")
    return float(value)


def number_or_none(values: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, ``None`` for null, absence and NaN. Raises ValueError for anything else."""
    return None if _plain(values, key) is None else number(values, key)


def count(values: Mapping[str, Any], key: str) -> int:
    """Return a whole number of at least 0. Raises ValueError where there is none."""
    value = _plain(values, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} must be a whole number of at least 0, got {value!r}")
    return value


def text(values: Mapping[str, Any], key: str) -> str:
    """Return a string. Raises ValueError where there is none."""
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text, got {value!r}")
    return value


def flag(values: Mapping[str, Any], key: str) -> bool:
    """Return true or false. Raises ValueError where there is neither."""
    value = values.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, got {value!r}")
    return value


def texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return strings, none where the key is absent. Raises ValueError for anything else."""
    found = values.get(key, ())
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{key} must be a list of texts, got {found!r}")
    return tuple(found)
