"""JSON that others may have written: whatever is wrong with it is a `ValueError`."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises
    ------
    ValueError
        If it is none, is no UTF-8, is nested too deeply, or holds a number of more digits than any.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON must not be nested so deeply") from error
