"""What was probably meant, for messages about names that are not known."""

from __future__ import annotations

from collections.abc import Iterable

_LIKENESS = 0.6
"""Share of letters that two names must have in common, as `difflib` counts it."""


def did_you_mean(name: str, known: Iterable[str], *, likeness: float = _LIKENESS) -> str:
    """Return `` (did you mean 'hop_s'?)`` to be put into a message, or nothing where no known name is like this one."""
    from difflib import get_close_matches

    names = list(known)
    by_small = {one.lower(): one for one in reversed(names)}
    found = get_close_matches(name.lower(), list(by_small), n=1, cutoff=likeness)
    return f" (did you mean {by_small[found[0]]!r}?)" if found else ""
