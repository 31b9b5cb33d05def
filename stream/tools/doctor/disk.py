"""The disk that a run is written to, and the folder of compiled kernels."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from neuroloop.stream.tools.doctor.finding import Finding

_MIB = 1 << 20
_BLOCK = os.urandom(_MIB)
_ROOT = Path(__file__).resolve().parents[3]
_DECORATOR = "\n@" + "kernel("  # in two, lest this file count as one that holds kernels
_ROOMS = ("processors", "models", "stream")


@dataclass(frozen=True)
class DiskSpeed:
    """What a folder does.

    Parameters
    ----------
    free_bytes : int
    mib_per_s : float
        Writing in one go, with fsync at the end.
    fsync_ms : float
        Middle of small appends, each with fsync.
    worst_fsync_ms : float
    """

    free_bytes: int
    mib_per_s: float
    fsync_ms: float
    worst_fsync_ms: float


def existing_folder(path: Path) -> Path:
    """Return the folder itself, or of one that is not made yet the nearest one above that is there."""
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return folder
    return Path.cwd()


def measure_disk(folder: Path, *, n_mib: int, n_appends: int, limit_s: float) -> DiskSpeed | str:
    """Write into a folder and take the file away again.

    Parameters
    ----------
    folder : Path
    n_mib, n_appends : int
        How much to write in one go, and how many small appends.
    limit_s : float
        Stop the appends after so many seconds.

    Returns
    -------
    DiskSpeed or str
        What was measured, or why nothing could be.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".neuroloop-doctor-") as file:
            begin = time.perf_counter()
            for _ in range(n_mib):
                file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
            took_s = max(time.perf_counter() - begin, 1e-9)
            waits = []
            end = time.perf_counter() + limit_s
            for _ in range(n_appends):
                start = time.perf_counter()
                file.write(_BLOCK[:4096])
                file.flush()
                os.fsync(file.fileno())
                waits.append((time.perf_counter() - start) * 1e3)
                if time.perf_counter() > end:
                    break
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return error.strerror or str(error)
    waits.sort()
    return DiskSpeed(free, n_mib / took_s, waits[len(waits) // 2], waits[-1])


def judge_disk(folder: Path, speed: DiskSpeed | str) -> list[Finding]:
    """Judge the folder that runs are written to."""
    if isinstance(speed, str):
        cure = "choose another folder with --out, or make this one writable"
        return [Finding("disk", "fail", f"{str(folder)!r} cannot be written: {speed}", cure)]
    free = f"{speed.free_bytes / 2**30:.1f} GiB free in {str(folder.absolute())!r}"
    cure = "an hour of 64 channels at 1 kHz takes 2 GiB: free some, or write to another disk"
    space = Finding("disk space", "ok", free)
    if speed.free_bytes < 64 * _MIB:
        space = Finding("disk space", "fail", free, cure)
    elif speed.free_bytes < 2 << 30:
        space = Finding("disk space", "warn", free, cure)
    fsync = f"one fsync {speed.fsync_ms:.1f} ms, at worst {speed.worst_fsync_ms:.1f} ms"
    found = f"{speed.mib_per_s:.0f} MiB/s with fsync; {fsync}"
    if speed.mib_per_s < 5 or speed.fsync_ms > 100:
        return [space, Finding("disk", "warn", found, "write runs to a local disk, not to a network or slow one")]
    return [space, Finding("disk", "ok", found)]


def judge_kernel_cache(folder: Path, *, is_writable: bool, n_compiled: int, n_kernels: int) -> Finding:
    """Judge the folder of compiled kernels.

    Parameters
    ----------
    folder : Path
    is_writable : bool
    n_compiled, n_kernels : int
        How many kernels are compiled, of how many that the program has.
    """
    if not is_writable:
        cure = "set NEUROLOOP_CACHE to a writable folder: every start compiles for half a minute otherwise"
        return Finding("kernel cache", "warn", f"{str(folder)!r} is not writable", cure)
    found = f"{min(n_compiled, n_kernels)} of {n_kernels} kernels compiled in {str(folder)!r}"
    if n_compiled < n_kernels:
        cure = (
            "nothing: a run compiles what it needs before it opens the stream; neuroloop demo --seconds 5 does it now"
        )
        return Finding("kernel cache", "note", found, cure)
    return Finding("kernel cache", "ok", found)


def count_kernels(folder: Path) -> int:
    """Count the functions below a folder that are compiled and kept: kernels, but for those that others take in."""
    n = 0
    for path in folder.rglob("*.py"):
        for block in path.read_text(encoding="utf-8").split(_DECORATOR)[1:]:
            n += "inline=True" not in block.partition("\ndef ")[0]
    return n


def examine_kernel_cache(folder: Path) -> Finding:
    """Look at the folder of compiled kernels."""
    above = existing_folder(folder)
    is_writable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
    n_compiled = sum(1 for _ in folder.rglob("*.nbi")) if folder.is_dir() else 0
    n_kernels = sum(count_kernels(_ROOT / room) for room in _ROOMS)
    return judge_kernel_cache(folder, is_writable=is_writable, n_compiled=n_compiled, n_kernels=n_kernels)


def examine_disk(folder: Path, *, is_quick: bool) -> list[Finding]:
    """Look at the folder that runs are written to."""
    where = existing_folder(folder)
    if not where.is_dir():
        return judge_disk(where, "it is a file")
    speed = measure_disk(where, n_mib=2 if is_quick else 16, n_appends=4 if is_quick else 20, limit_s=0.5)
    return judge_disk(where, speed)
