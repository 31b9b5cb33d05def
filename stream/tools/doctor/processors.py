"""Cores, their governor, and whether real-time priority is allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from neuroloop.stream.tools.doctor.finding import Finding

_CPUS = Path("/sys/devices/system/cpu")
_FIFO_PRIORITY = 10


def judge_governor(governors: Mapping[int, str]) -> Finding:
    """Judge the frequency governors of the usable cores, by core; empty where the system shows none."""
    if not governors:
        cure = "on real hardware choose the performance profile; in a virtual machine only its host can"
        return Finding("cpu governor", "note", "not shown by this system (virtual machine?)", cure)
    names = sorted(set(governors.values()))
    if names == ["performance"]:
        return Finding("cpu governor", "ok", "performance")
    slow = [core for core, name in sorted(governors.items()) if name != "performance"]
    cure = "cores that fall asleep wake late: sudo cpupower frequency-set -g performance"
    return Finding("cpu governor", "warn", f"{', '.join(names)} on {len(slow)} of {len(governors)} cores", cure)


def judge_cores(usable: Sequence[int], n_present: int, isolated: Sequence[int]) -> Finding:
    """Judge how many cores this process may use.

    Parameters
    ----------
    usable, isolated : sequence of int
        Numbers of cores; isolated ones are kept free of other processes by the kernel.
    n_present : int
    """
    found = f"{len(usable)} of {n_present} usable"
    if isolated:
        found += f", isolated: {', '.join(map(str, isolated))}"
        unusable = sorted(set(isolated) - set(usable))
        if unusable:
            cure = (
                f"to give them to the hot process: taskset -c 0-{n_present - 1} neuroloop run ... with process.hot_core"
            )
            return Finding("cores", "note", found + " (not usable by this process)", cure)
        return Finding("cores", "ok", found)
    if len(usable) < 2:
        cure = "the hot process gets no core of its own and waits for writers: give this machine two cores or more"
        return Finding("cores", "warn", found, cure)
    return Finding("cores", "ok", found)


def judge_realtime(reached: bool, reason: str, limit: int | None) -> Finding:
    """Judge whether SCHED_FIFO could be set.

    Parameters
    ----------
    reached : bool
    reason : str
        What the system said where it could not.
    limit : int, optional
        The highest real-time priority that the limits allow.
    """
    if reached:
        return Finding("real-time priority", "ok", f"SCHED_FIFO {_FIFO_PRIORITY} can be set")
    found = f"SCHED_FIFO cannot be set: {reason}" + (f" (rtprio limit {limit})" if limit is not None else "")
    cure = (
        "add '@realtime - rtprio 20' to /etc/security/limits.d, join that group, log in again;"
        " containers: --cap-add=sys_nice"
    )
    return Finding("real-time priority", "warn", found, cure)


def parse_core_list(text: str) -> list[int]:
    """Read the kernel's notation of cores, such as ``2-3,6``; what cannot be read is left out."""
    cores: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            cores.extend(range(int(first), int(last or first) + 1))
    return cores


def try_realtime() -> tuple[bool, str]:
    """Set SCHED_FIFO for this thread and put back what was; return whether it could be set, and why not."""
    if not hasattr(os, "sched_setscheduler"):
        return False, f"{sys.platform} has no such call"
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except OSError as error:
        return False, error.strerror or str(error)
    os.sched_setscheduler(0, policy, parameters)
    return True, ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def governors_of(cores: Sequence[int], folder: Path = _CPUS) -> dict[int, str]:
    """Return the governor of each core that shows one."""
    found = {core: _read(folder / f"cpu{core}" / "cpufreq" / "scaling_governor") for core in cores}
    return {core: name for core, name in found.items() if name}


def examine_processors() -> list[Finding]:
    """Look at this machine's cores."""
    limit: int | None = None
    if sys.platform == "linux":
        import resource  # absent on Windows

        limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    n_present = os.cpu_count() or 1
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(n_present))
    isolated = parse_core_list(_read(_CPUS / "isolated") or "")
    reached, reason = try_realtime()
    return [
        judge_governor(governors_of(usable)),
        judge_cores(usable, n_present, isolated),
        judge_realtime(reached, reason, limit),
    ]
