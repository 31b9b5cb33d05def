"""Secrets: named in a configuration, never part of it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from neuroloop.config.errors import ConfigError


class Masked(str):
    """A text that is used like any other and shows asterisks where a structure that holds it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def read_secret(setting: str, *, file: str | None, env: str | None) -> SecretStr | None:
    """Read a secret from the file or the environment variable that the configuration names.

    Parameters
    ----------
    setting : str
        Path of the setting, for messages.
    file : str, optional
        Path; the secret is its first line.
    env : str, optional
        Name of a variable.

    Returns
    -------
    SecretStr or None
        Prints as asterisks; None where neither is named.

    Raises
    ------
    ConfigError
        If it is not there or empty.
    """
    if file is not None:
        try:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
            raise ConfigError(f"{setting}_file must be a readable text file, got {file!r}: {why}") from error
        if not lines or not lines[0]:
            raise ConfigError(f"{setting}_file must have the secret in its first line, got an empty one in {file!r}")
        return SecretStr(lines[0])
    if env is not None:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"{setting}_env must name a variable of the environment that is set, got {env!r}")
        return SecretStr(value)
    return None
