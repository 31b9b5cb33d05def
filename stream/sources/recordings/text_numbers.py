"""Numbers in the text fields of headers; None where the text is not one."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d{1,4})?")


def whole_number(text: bytes | str) -> int | None:
    """Read an integer; also one that is written ``256.0``."""
    plain = _plain(text)
    if _WHOLE.fullmatch(plain):
        return int(plain)
    number = decimal_number(plain)
    return int(number) if number is not None and abs(number) < 1e15 and number.is_integer() else None


def decimal_number(text: bytes | str) -> float | None:
    """Read a decimal number, with a point or a comma."""
    plain = _plain(text)
    return float(plain.replace(",", ".")) if _DECIMAL.fullmatch(plain) else None


def _plain(text: bytes | str) -> str:
    return (text.decode("latin-1") if isinstance(text, bytes) else text).replace("\x00", " ").strip()
