"""Text from outside, made fit for logs and terminals before anything else sees it."""

from __future__ import annotations

MOST_CHARACTERS = 200


def plain_text(value: object, most: int = MOST_CHARACTERS) -> str:
    """Return a text without what cannot be written or steers a terminal, cut to a length; empty for anything else.

    Parameters
    ----------
    value : object
        As it came in: half a surrogate pair, escapes and newlines become question marks.
    most : int
        Characters that are kept.
    """
    if not isinstance(value, str):
        return ""
    return "".join(one if one.isprintable() else "?" for one in value[:most])
