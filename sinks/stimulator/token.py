"""The token that arms: a secret made for one run, of which only the hash goes further."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

TOKEN_FILE = "operator.token"  # noqa: S105


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
