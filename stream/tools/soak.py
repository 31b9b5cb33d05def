"""What a long run must show at its end: balanced books, nothing lost, memory that stays flat."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

_ALLOWED_BYTES = 4 << 20
_ALLOWED_SHARE = 0.02
_LEAST_READINGS = 8
_MIB = 1 << 20
_LEAST_RECEIVED = 0.98


class Use(Protocol):
    """What one process takes."""

    @property
    def pid(self) -> int:
        """Its number, another one after a restart."""
        ...

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds."""
        ...


@dataclass(frozen=True)
class Check:
    """One rule and what was found.

    Parameters
    ----------
    name, rule, found : str
    is_good : bool
    """

    name: str
    rule: str
    found: str
    is_good: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"name": self.name, "rule": self.rule, "found": self.found, "passed": self.is_good}


class MemoryLog:
    """Readings of the memory of every process.

    Attributes
    ----------
    readings : dict
        ``(seconds, pid, bytes)`` in order of time, by process name.
    """

    def __init__(self) -> None:
        self.readings: dict[str, list[tuple[float, int, int]]] = {}

    def add(self, at_s: float, use: Mapping[str, Use]) -> None:
        """Add one reading of each process."""
        for name, one in use.items():
            self.readings.setdefault(name, []).append((at_s, one.pid, one.resident_bytes))

    def as_dict(self) -> dict[str, list[list[float]]]:
        """Return seconds and bytes by process, as JSON values."""
        return {name: [[round(at, 3), size] for at, _, size in rows] for name, rows in self.readings.items()}


def check_books(summary: Mapping[str, Any], *, seconds: float) -> list[Check]:
    """Check the books of a finished run.

    Parameters
    ----------
    summary : mapping
        Its ``summary.json``.
    seconds : float
        How long it was meant to be.
    """
    samples, rings = summary["samples"], summary["rings"]
    wanted = seconds * summary["stream"]["sfreq"]
    n_lost = sum(rings.values())
    n_missing = sum(samples["missing"].values())
    n_unwritten = summary["events_unwritten"] + summary["outlet_errors"]
    rows = [
        ("ended", "finished", summary["ended"], summary["ended"] == "finished"),
        ("books", "samples in = processed + counted",
         f"{samples['in']} = {samples['processed']} + {sum(samples['counted'].values())}", bool(samples["balanced"])),
        ("length", f"at least {_LEAST_RECEIVED:.0%} of the samples of {seconds:g} s", f"{samples['in'] / wanted:.2%}",
         samples["in"] >= _LEAST_RECEIVED * wanted),
        ("missing", "no sample missing", f"{n_missing}", n_missing == 0),
        ("rings", "nothing overwritten unread", f"{n_lost}", n_lost == 0),
        ("sinks", "no event unwritten, no outlet error", f"{n_unwritten}", n_unwritten == 0),
    ]  # fmt: skip
    return [Check(name, rule, found, is_good) for name, rule, found, is_good in rows]


def check_memory(log: MemoryLog, *, settle_s: float) -> list[Check]:
    """Check that no process grows.

    The rings are touched page by page until each has been filled once, which counts as memory of its reader and
    writer: readings before that are left out. Of the rest, the median of the last quarter may exceed that of the first
    quarter by 4 MiB or 2 %, whichever is more; a process must be the same one all the time.

    Parameters
    ----------
    log : MemoryLog
    settle_s : float
        When the rings have been filled once.
    """
    checks = []
    for name, rows in log.readings.items():
        rule = f"grows by at most {_ALLOWED_BYTES // _MIB} MiB or {_ALLOWED_SHARE:.0%} after {settle_s:g} s"
        settled = [row for row in rows if row[0] >= settle_s]
        quarter = len(settled) // 4
        if len(settled) < _LEAST_READINGS:
            checks.append(Check(f"memory of {name}", rule, f"only {len(settled)} readings", False))
            continue
        first = statistics.median(size for _, _, size in settled[:quarter])
        last = statistics.median(size for _, _, size in settled[-quarter:])
        is_same = len({pid for _, pid, _ in rows}) == 1
        found = f"{first / _MIB:.1f} to {last / _MIB:.1f} MiB" + ("" if is_same else ", restarted")
        is_flat = last - first <= max(_ALLOWED_BYTES, _ALLOWED_SHARE * first)
        checks.append(Check(f"memory of {name}", rule, found, is_flat and is_same))
    if not log.readings:
        checks.append(Check("memory", "readable (Linux)", "no reading", False))
    return checks
