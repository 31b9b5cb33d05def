"""Sealing for somebody else: what only the holder of a private key can read, by a well-kept library.

HPKE (RFC 9180: X25519, HKDF-SHA256, ChaCha20-Poly1305) of the package ``cryptography``, and its ChaCha20-Poly1305 for
the many small boxes of a run. No cipher is of our own make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from neuroloop.config.errors import NeuroloopError

_NONCE_BYTES = 12


class SealError(NeuroloopError):
    """Something sealed cannot be made or opened."""


def _part(name: str) -> ModuleType:
    """Import a part of the package, which only blinded runs need."""
    from importlib import import_module

    try:
        return import_module(f"cryptography.hazmat.primitives.{name}")
    except ImportError as error:
        raise SealError(
            "cryptography must be installed for blinding, got no such package: pip install 'neuroloop[blinding]'"
        ) from error


def _suite() -> Any:
    hpke = _part("hpke")
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """Opens what was sealed for its public half.

    Parameters
    ----------
    raw : bytes
        32 of them.
    """

    raw: bytes

    @classmethod
    def make(cls) -> PrivateKey:
        """Return a new one."""
        return cls(secrets.token_bytes(32))

    def _key(self) -> Any:
        return _part("asymmetric.x25519").X25519PrivateKey.from_private_bytes(self.raw)

    @property
    def public(self) -> str:
        """The public half, as 64 hex digits."""
        return str(self._key().public_key().public_bytes_raw().hex())

    def open(self, box: str, what: str) -> bytes:
        """Return what is in a box.

        Parameters
        ----------
        box : str
            From `seal`.
        what : str
            What it was sealed as.

        Raises
        ------
        SealError
            If it was sealed for another key or as something else, or was changed.
        """
        exceptions = _part_of_errors()
        try:
            return bytes(_suite().decrypt(bytes.fromhex(box), self._key(), what.encode()))
        except (ValueError, TypeError, exceptions) as error:
            raise SealError(f"box must be {what!r}, sealed for this key and unchanged, got another") from error

    def stamp(self, text: bytes) -> str:
        """Return a mark that only the holder of this key can make or check."""
        key = hashlib.sha256(b"neuroloop stamp\0" + self.raw).digest()
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    def write(self, path: Path, what: str) -> None:
        """Write it to a new file, for its owner only.

        Raises
        ------
        SealError
            If the file is there or cannot be made.
        """
        text = json.dumps({"neuroloop": what, "private": self.raw.hex(), "public": self.public}, indent=1)
        write_private(path, text.encode() + b"\n")


def _part_of_errors() -> type[Exception]:
    from importlib import import_module

    found: type[Exception] = import_module("cryptography.exceptions").InvalidTag
    return found


def seal(text: bytes, public: str, what: str) -> str:
    """Seal a text for the holder of a private key; as hex digits, of a length that follows from the text's.

    Parameters
    ----------
    text : bytes
    public : str
        Of that key.
    what : str
        What it is; must be named again to open it.

    Raises
    ------
    SealError
        If the public key is none.
    """
    try:
        key = _part("asymmetric.x25519").X25519PublicKey.from_public_bytes(bytes.fromhex(public))
    except (ValueError, TypeError) as error:
        raise SealError(f"public key must be 64 hex digits, got {public[:80]!r}") from error
    return str(_suite().encrypt(text, key, what.encode()).hex())


def read_private(path: Path) -> PrivateKey:
    """Read a private key.

    Raises
    ------
    SealError
        If it cannot be read, is none, or others than its owner may read it.
    """
    try:
        mode = path.stat().st_mode & 0o777
        values = json.loads(path.read_text(encoding="ascii"))
    except OSError as error:
        raise SealError(f"key must be a readable file, got {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise SealError(f"key must be a file that 'neuroloop blinding' made, got {str(path)!r}") from error
    if mode & 0o077:
        raise SealError(f"key must be for its owner only (chmod 600), got {str(path)!r} with mode {mode:o}")
    try:
        key = PrivateKey(bytes.fromhex(values["private"]))
        is_whole = key.public == values["public"]
    except (KeyError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise SealError(f"key must be a file that 'neuroloop blinding' made, got {str(path)!r}")
    return key


def write_private(path: Path, text: bytes) -> None:
    """Write a new file for its owner only, and put it on the disk.

    Raises
    ------
    SealError
        If it is there or cannot be made.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SealError(f"file must be a new one that can be made, got {str(path)!r}: {error.strerror}") from error
    with os.fdopen(fd, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


class BoxKey:
    """Seals numbered boxes of one run, each with the number that it stands at.

    Parameters
    ----------
    raw : bytes
        32 of them, used for one run only.
    """

    def __init__(self, raw: bytes) -> None:
        self._cipher = _part("ciphers.aead").ChaCha20Poly1305(raw)

    def seal(self, number: int, text: bytes) -> str:
        """Return a box as hex digits."""
        return str(self._cipher.encrypt(number.to_bytes(_NONCE_BYTES, "big"), text, None).hex())

    def open(self, number: int, box: str) -> bytes:
        """Return what is in it. Raises `SealError` where it is another or was changed."""
        exceptions = _part_of_errors()
        try:
            return bytes(self._cipher.decrypt(number.to_bytes(_NONCE_BYTES, "big"), bytes.fromhex(box), None))
        except (ValueError, exceptions) as error:
            raise SealError(f"box {number} must be sealed by its run and unchanged, got another") from error
