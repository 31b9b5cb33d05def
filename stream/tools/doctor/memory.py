"""Memory: locks, ``/dev/shm``, the shared segments that the processes of a run meet in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from neuroloop.stream.ring.segment import Segment, SharedMemoryError
from neuroloop.stream.tools.doctor.finding import Finding

_MIB = 1 << 20
_SHM_NAME = "/dev/shm"  # noqa: S108
_SHM = Path(_SHM_NAME)
_SEGMENT_BYTES = 8 * _MIB


def judge_lock_limit(limit_bytes: int | None) -> Finding:
    """Judge how much memory may be locked; None for unlimited."""
    if limit_bytes is None:
        return Finding("memory locks", "ok", "unlimited")
    found = f"{limit_bytes / _MIB:.3g} MiB may be locked"
    if limit_bytes >= 64 * _MIB:
        return Finding("memory locks", "ok", found)
    cure = "matters only where swap is in use: add '@realtime - memlock unlimited' to /etc/security/limits.d"
    return Finding("memory locks", "note", found, cure)


def judge_swap(used_bytes: int, total_bytes: int) -> Finding:
    """Judge how much memory is swapped out."""
    if not total_bytes:
        return Finding("swap", "ok", "none")
    found = f"{used_bytes / _MIB:.0f} of {total_bytes / _MIB:.0f} MiB in use"
    if used_bytes > 256 * _MIB:
        return Finding("swap", "warn", found, "memory is short, pauses of milliseconds will come: close programs")
    return Finding("swap", "ok", found)


def judge_shm(size_bytes: int | None, free_bytes: int, *, has_memfd: bool) -> Finding:
    """Judge ``/dev/shm``, which rings need only where there is no memfd.

    Parameters
    ----------
    size_bytes : int, optional
        None where there is no such folder.
    free_bytes : int
    has_memfd : bool
        Whether shared memory comes from memfds here.
    """
    cure = "docker: --shm-size=512m; compose: shm_size: 512m; else: mount -o remount,size=512m /dev/shm"
    if size_bytes is None:
        if has_memfd:
            return Finding(_SHM_NAME, "ok", "absent; not needed, rings are memfds")
        return Finding(_SHM_NAME, "fail", "absent, and Python has no memfd_create", "mount a tmpfs at /dev/shm")
    found = f"{free_bytes / _MIB:.0f} of {size_bytes / _MIB:.0f} MiB free"
    if free_bytes >= 256 * _MIB:
        return Finding(_SHM_NAME, "ok", found)
    if has_memfd:
        return Finding(_SHM_NAME, "note", found + "; rings are memfds and do not need it, other programs may", cure)
    return Finding(_SHM_NAME, "fail" if free_bytes < 16 * _MIB else "warn", found, cure)


def judge_segment(fault: str | None) -> Finding:
    """Judge whether a shared segment could be made, written and read."""
    if fault is None:
        return Finding("shared memory", "ok", f"a segment of {_SEGMENT_BYTES // _MIB} MiB works")
    return Finding("shared memory", "fail", fault, "free memory, or raise the container's limit; live runs need Linux")


def try_segment(n_bytes: int = _SEGMENT_BYTES) -> str | None:
    """Make a shared segment, write it from one end to the other, read it back; return what failed."""
    try:
        with Segment.shared(n_bytes, "doctor") as segment:
            words = segment.array(0, (n_bytes // 8,), np.int64)
            words[:] = np.arange(n_bytes // 8)
            is_kept = bool(words[-1] == n_bytes // 8 - 1 and words[0] == 0)
            del words
    except (SharedMemoryError, OSError) as error:
        return str(error)
    return None if is_kept else "a segment does not keep what is written"


def swap_bytes(text: str) -> tuple[int, int]:
    """Return the used and the whole swap in bytes from the text of ``/proc/meminfo``."""
    values = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        number = rest.split()[:1]
        if key in ("SwapTotal", "SwapFree") and number and number[0].isdigit():
            values[key] = 1024 * int(number[0])
    total = values.get("SwapTotal", 0)
    return total - values.get("SwapFree", total), total


def _lock_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # absent on Windows

    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def examine_memory() -> list[Finding]:
    """Look at this machine's memory."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        meminfo = ""
    size: int | None = None
    free = 0
    if _SHM.is_dir():
        stat = os.statvfs(_SHM)
        size, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    return [
        judge_lock_limit(_lock_limit()),
        judge_swap(*swap_bytes(meminfo)),
        judge_shm(size, free, has_memfd=hasattr(os, "memfd_create")),
        judge_segment(try_segment()),
    ]
