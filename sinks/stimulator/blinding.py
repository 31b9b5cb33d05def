"""Blinded runs: real or sham as a sealed assignment says, which nobody reads before the run is unblinded.

The assignment lies in a file of its own in the run's folder, for its owner only. The audit log holds its salted hash
from the first record on, so that it can be proven later that it was not changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ASSIGNMENT_FILE = "assignment.sealed"
Arm = Literal["real", "sham"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a blinded run gives.

    Parameters
    ----------
    arm : {'real', 'sham'}
    salt : str
        Keeps the commitment from being guessed.
    """

    arm: Arm
    salt: str

    @property
    def commitment(self) -> str:
        """SHA-256 over salt and arm."""
        return commit(self.arm, self.salt)


def commit(arm: str, salt: str) -> str:
    """Return the salted hash of an assignment."""
    return hashlib.sha256(f"{salt}:{arm}".encode()).hexdigest()


def draw_assignment(
    folder: Path, draw: Callable[[int], int] = secrets.randbelow, salt: Callable[[int], str] = secrets.token_hex
) -> Assignment:
    """Draw real or sham, seal it in the run's folder, return it.

    Parameters
    ----------
    folder : Path
        Of the run.
    draw : callable
        Takes 2 and returns 0 for sham or 1 for real.
    salt : callable
        Takes a number of bytes.
    """
    assignment = Assignment("real" if draw(2) else "sham", salt(32))
    fd = os.open(folder / ASSIGNMENT_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        json.dump({"arm": assignment.arm, "salt": assignment.salt}, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return assignment
