"""A block of zeroed memory, private or shared, that no crash can leak and no shortage can turn into SIGBUS.

Shared blocks have no name in any file system: they are memfds, gone from the kernel when the last process that holds
them is gone, SIGKILL included, and reach a spawned child as an inherited descriptor inside the pickled object.
``multiprocessing.shared_memory`` is not used: up to Python 3.12 a reader that exits destroys the block for all others.
Where Python lacks ``os.memfd_create`` (builds against an old libc) an unnamed file in ``/dev/shm``
(``O_TMPFILE``) takes its place; it leaks nothing either, but ``/dev/shm`` is often small in containers.

All pages are allocated before the block is mapped (``posix_fallocate``), and the size is sealed, so that no later
access can fail. A memfd that outgrows the container's memory would end in the OOM killer: what is free is looked up
first.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import context, reduction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neuroloop.config.errors import NeuroloopError

ALIGNMENT = 64
"""Bytes of a cache line: every array starts on one."""


class SharedMemoryError(NeuroloopError):
    """Shared memory is too small or not to be had here; the text says how much is needed and how much there is."""


def require_linux() -> None:
    """Refuse what only Linux offers.

    Raises
    ------
    SharedMemoryError
        On any other platform.
    """
    if sys.platform != "linux":
        raise SharedMemoryError(f"platform must be Linux to run in several processes, got {sys.platform!r}")


def aligned(n_bytes: int) -> int:
    """Round up to whole cache lines."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


class Segment:
    """A block of zeroed memory, as arrays and as words.

    Pickling works only while a process is being spawned (as an argument of ``Process``); the child gets the same
    memory.

    Parameters
    ----------
    memory : mmap.mmap
    fd : int
        Descriptor of a shared block, owned by this object; -1 for private memory.
    """

    def __init__(self, memory: mmap.mmap, fd: int = -1) -> None:
        self._memory = memory
        self._fd = fd
        self._words: list[memoryview] = []
        self.is_closed = False

    @classmethod
    def private(cls, n_bytes: int) -> Segment:
        """Make a block that only this process sees; works on every platform."""
        memory = mmap.mmap(-1, n_bytes)
        memory[:] = bytes(n_bytes)  # touches every page: no page fault later, in the stream
        return cls(memory)

    @classmethod
    def shared(cls, n_bytes: int, name: str, *, folder: str | None = None) -> Segment:
        """Make a block for this process and those that it spawns (Linux).

        Parameters
        ----------
        n_bytes : int
        name : str
            Appears in ``/proc/<pid>/maps`` as ``memfd:neuroloop-<name>``.
        folder : str, optional
            Use an unnamed file in this folder in place of a memfd.

        Raises
        ------
        SharedMemoryError
            If the memory is not there, or this is not Linux.
        """
        require_linux()
        import fcntl  # absent on Windows, where private rings work

        if folder is None and not hasattr(os, "memfd_create"):
            folder = "/dev/shm"  # noqa: S108
        if folder is None:
            _require(n_bytes, _available_memory(), "memory")
            fd = os.memfd_create(f"neuroloop-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            _require(n_bytes, _free_in(folder), folder)
            fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                os.posix_fallocate(fd, 0, n_bytes)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                    raise
                free = _available_memory() if folder is None else _free_in(folder)
                raise _too_small(n_bytes, free, folder or "memory") from error
            if folder is None:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(_map(fd, n_bytes), fd)
        except BaseException:
            os.close(fd)
            raise

    def __len__(self) -> int:
        return len(self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        if self._fd < 0:
            raise TypeError("segment must be shared to be handed to another process, got private memory")
        return _attach, (reduction.DupFd(self._fd), len(self))

    def words(self, offset: int, n_words: int) -> memoryview:
        """Return int64 words; loads and stores are one machine instruction each.

        A store takes 33 ns, to a NumPy element 43 ns.
        """
        view = memoryview(self._memory)[offset : offset + 8 * n_words].cast("q")
        self._words.append(view)
        return view

    def octets(self, offset: int, n_bytes: int) -> memoryview:
        """Return bytes."""
        view = memoryview(self._memory)[offset : offset + n_bytes]
        self._words.append(view)
        return view

    def array(self, offset: int, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array over the memory; it keeps the mapping alive."""
        count = int(np.prod(shape))
        return np.frombuffer(self._memory, dtype, count, offset).reshape(shape)

    def close(self) -> None:
        """Give the memory back; arrays still in use stay readable and keep it until they go."""
        if self.is_closed:
            return
        self.is_closed = True
        for view in self._words:
            view.release()
        try:
            self._memory.close()
        except BufferError:  # an array is still in use: the mapping goes with it
            del self._memory
        if self._fd >= 0:
            os.close(self._fd)

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _map(fd: int, n_bytes: int) -> mmap.mmap:
    """Map with all pages present: no page fault later, in the stream."""
    return mmap.mmap(fd, n_bytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)


def _attach(handed: Any, n_bytes: int) -> Segment:
    """Rebuild a shared segment in the spawned child."""
    fd = handed.detach()
    os.set_inheritable(fd, False)
    return Segment(_map(fd, n_bytes), fd)


def _too_small(n_bytes: int, free: int, place: str) -> SharedMemoryError:
    return SharedMemoryError(
        f"shared memory must have at least {n_bytes} bytes free in {place}, got {free}; "
        "shorten the ring or give the container more"
    )


def _require(n_bytes: int, free: int, place: str) -> None:
    if n_bytes > free:
        raise _too_small(n_bytes, free, place)


def _free_in(folder: str) -> int:
    """Return the free bytes of the file system that a folder lies on."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def _available_memory() -> int:
    """Return how many bytes can be allocated: the machine's, or what the control groups leave of it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            machine = 1024 * int(line.split()[1])
            break
    else:
        machine = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_control_group_room(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _control_group_room(membership: Path, mount: Path) -> Iterator[int]:
    """Yield the bytes left in each memory control group (version 1 or 2) around this process."""
    if not membership.exists():
        return
    for line in membership.read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base, names, cache = mount, ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            base, names, cache = (
                mount / "memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                "total_inactive_file",
            )
        else:
            continue
        group = base / path.lstrip("/")
        while True:  # limits hold for all groups below; in a container the outer part of the path is not mounted
            try:
                limit, used = ((group / name).read_text().strip() for name in names)
                stat = dict(entry.split() for entry in (group / "memory.stat").read_text().splitlines())
                if limit != "max":
                    yield max(0, int(limit) - int(used) + int(stat.get(cache, "0")))
            except OSError:
                pass
            if group == base:
                break
            group = group.parent
