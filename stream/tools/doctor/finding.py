"""One finding: what was looked at, how it is, what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warn", "fail"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """What an examination found.

    Parameters
    ----------
    name : str
        What was looked at; stable, scripts may look for it.
    level : str
        ``ok``; ``note``: good to know; ``warn``: live work may suffer; ``fail``: something will not work.
    found : str
        What is so, in one line.
    cure : str
        What to do; required unless ``ok``.

    Raises
    ------
    ValueError
        If a finding that is not ``ok`` has no cure.
    """

    name: str
    level: Level
    found: str
    cure: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, got {self.level!r}")
        if self.level != "ok" and not self.cure:
            raise ValueError(f"cure must be given for level {self.level!r}, got {self.cure!r} for {self.name!r}")

    def lines(self) -> list[str]:
        """Return the line for the terminal, and where it is not ``ok`` a second one with what to do."""
        found = " ".join("".join(c if c.isprintable() else "?" for c in self.found.replace("\n", " ")).split())
        lines = [f"{self.level:<5} {self.name}: {found}"]
        if self.level != "ok":
            lines.append(f"      -> {self.cure}")
        return lines


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 1 if anything fails, otherwise 0; warnings are allowed."""
    return int(any(finding.level == "fail" for finding in findings))
