"""What each process of a run takes from the machine, read from ``/proc`` (Linux); nothing elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PREFIX = "neuroloop-"
_CUT = {"ampli": "amplifier", "recor": "recorder", "publi": "publisher", "stimu": "stimulator"}
"""The system keeps 15 characters of a name."""
_USER_TICKS, _SYSTEM_TICKS, _RESIDENT_PAGES = 11, 12, 21
"""Fields of ``/proc/PID/stat`` behind the name, see proc(5)."""


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Memory and processor time of one process.

    Parameters
    ----------
    pid : int
    resident_bytes : int
        With the pages of shared rings that it has touched.
    cpu_s : float
    """

    pid: int
    resident_bytes: int
    cpu_s: float


def use_of_run(supervisor_pid: int) -> dict[str, ProcessUse]:
    """Return the use of a supervisor and of the processes that it has started, by name.

    Parameters
    ----------
    supervisor_pid : int
        The process that started the others.
    """
    found: dict[str, ProcessUse] = {}
    for pid in (supervisor_pid, *_children(supervisor_pid)):
        one = _read(pid)
        if one is None:
            continue
        name, use = one
        if pid == supervisor_pid:
            found["supervisor"] = use
        elif name.startswith(_PREFIX):
            short = name.removeprefix(_PREFIX)
            found[_CUT.get(short, short)] = use
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _read(pid: int) -> tuple[str, ProcessUse] | None:
    """Return name and use of one process; nothing where it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
    resident = int(fields[_RESIDENT_PAGES]) * os.sysconf("SC_PAGE_SIZE")
    return name, ProcessUse(pid, resident, ticks / os.sysconf("SC_CLK_TCK"))
