"""The token that arms: a secret made for one run, of which only the hash goes further."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

TOKEN_FILE = "operator.token"  # noqa: S105
FREE_TRIES = 5
"""Wrong tokens in a row after which each further try has to wait."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


def make_token(folder: Path) -> str:
    """Make a token and keep it in the run's folder, for the owner only, until `forget_token`.

    Returns
    -------
    str
        To be shown once.
    """
    token = secrets.token_urlsafe(12)
    fd = os.open(folder / TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def forget_token(folder: Path) -> None:
    """Remove the file; may be called again."""
    with suppress(OSError):
        (folder / TOKEN_FILE).unlink()


def hash_token(token: str) -> str:
    """Return what is compared and configured."""
    return hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()


def is_token(given: object, token_sha256: str) -> bool:
    """Return whether what was given is the token; takes the same time whatever was given."""
    text = given if isinstance(given, str) else ""
    return hmac.compare_digest(hash_token(text), token_sha256)


class TokenCheck:
    """Judge tokens, and let nobody try them one after the other.

    From the fifth wrong one in a row on, nothing is judged for 1 s, then 2 s, and so on up to a minute: the right one
    neither, or its answer would tell. What is not judged is counted, for the log.

    Parameters
    ----------
    token_sha256 : str
    """

    def __init__(self, token_sha256: str) -> None:
        self._token_sha256 = token_sha256
        self._n_wrong = 0
        self._until_ns = 0
        self._n_unjudged = 0

    def wait_s(self, now_ns: int) -> float:
        """Return how long nothing will be judged, 0 where the next will be; a try while it is above 0 is counted."""
        left_s = max(0, self._until_ns - now_ns) * 1e-9
        self._n_unjudged += left_s > 0
        return left_s

    def is_right(self, given: object, now_ns: int) -> bool:
        """Judge one."""
        if is_token(given, self._token_sha256):
            self._n_wrong = 0
            return True
        self._n_wrong += 1
        n_waits = self._n_wrong - FREE_TRIES
        if n_waits >= 0:
            self._until_ns = now_ns + round(min(_FIRST_WAIT_S * 2.0 ** min(n_waits, 10), _LONGEST_WAIT_S) * 1e9)
        return False

    def take_unjudged(self) -> int:
        """Return how many tries were not judged since this was last asked."""
        n, self._n_unjudged = self._n_unjudged, 0
        return n
