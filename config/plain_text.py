"""Text from outside, made fit for logs, terminals, error lines and pages."""

from __future__ import annotations

import unicodedata
from typing import Any

_REPLACED = frozenset({"Cc", "Cs", "Co", "Cn", "Cf", "Zl", "Zp"})
"""Unicode categories that are not shown: control, format (which can turn the direction of text), unassigned."""


def clean(value: Any, most: int = 160, *, keep_lines: bool = False) -> str:
    """Return a value as text of one line that steers no terminal, hides nothing and forges no second line.

    Names and labels of streams, channels, markers and files are whatever somebody wrote: each goes through here before
    a person or a log sees it. Markup is no matter of this function: who shows text in a language of its own (HTML, the
    terminal's) marks it as plain there.

    Parameters
    ----------
    value : any
    most : int
        Longer text is cut, with a sign that it was.
    keep_lines : bool
        Whether line breaks and tabs stay.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    is_cut = len(text) > most
    text = text[:most]
    kept = "\n\t" if keep_lines else ""
    shown = "".join(c if c in kept or unicodedata.category(c) not in _REPLACED else "\ufffd" for c in text)
    return shown + " …" if is_cut else shown
