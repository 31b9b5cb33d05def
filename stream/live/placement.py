"""Which cores and which priority each process gets, and what the system allowed."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.live import ProcessSettings

_FIFO_PRIORITY = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_TIMERSLACK = 29
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


_LEAST_OPEN_FILES, _ENOUGH_OPEN_FILES = 128, 1024


def ensure_open_files() -> None:
    """Take as many open files as the system lets this process have, up to enough; each network stream needs some.

    Raises
    ------
    ConfigError
        If they do not suffice: what fails otherwise is whatever opens the next one.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft != resource.RLIM_INFINITY and soft < _LEAST_OPEN_FILES:
        raise ConfigError(f"open files (ulimit -n) must be at least {_LEAST_OPEN_FILES}, got {soft}")


@dataclass(frozen=True)
class Placement:
    """Cores of the hot process and of everything else; empty where the system decides."""

    hot: frozenset[int]
    others: frozenset[int]


def plan_placement(settings: ProcessSettings) -> Placement:
    """Give the hot process a core of its own where there are two or more.

    Raises
    ------
    ConfigError
        If the chosen core is not usable.
    """
    if not hasattr(os, "sched_getaffinity"):
        return Placement(frozenset(), frozenset())
    usable = sorted(os.sched_getaffinity(0))
    if settings.hot_core == "any" or (settings.hot_core == "auto" and len(usable) < 2):
        return Placement(frozenset(), frozenset())
    core = usable[-1] if settings.hot_core == "auto" else settings.hot_core
    if core not in usable:
        raise ConfigError(f"process.hot_core must be one of the usable cores {usable}, got {core!r}")
    others = frozenset(usable) - {core}
    return Placement(frozenset({core}), others or frozenset({core}))


def settle(cores: frozenset[int], *, realtime: bool) -> dict[str, Any]:
    """Move this process to its cores and priority; threads made later inherit both.

    Returns
    -------
    dict
        What was reached: ``cores`` and ``scheduler``, for the record beside the latencies.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    scheduler = "normal"
    if realtime and hasattr(os, "sched_setscheduler"):
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
            scheduler = f"fifo {_FIFO_PRIORITY}"
        except OSError:
            scheduler = "normal (real-time priority refused by the system)"
    reached = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {"cores": reached, "scheduler": scheduler}


def follow_parent() -> None:
    """Be terminated with the process that started this one; leave Ctrl-C to it, take SIGTERM from now on.

    Set the handler of SIGTERM first: one that came while this process started is delivered here.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(_PR_SET_NAME, multiprocessing.current_process().name.encode())  # what top and ps -e show
        system.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it died before the call
            os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def is_orphan() -> bool:
    """Return whether the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def quiet_memory() -> None:
    """Stop the cyclic garbage collector, whose pauses reach milliseconds; the loop makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    if sys.platform == "linux":  # wake-ups on time: the default slack adds 50 us
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, 1)


def lock_memory() -> bool:
    """Keep what this process has touched in memory, as far as the system allows; say whether it does."""
    if sys.platform != "linux":
        return False
    system = ctypes.CDLL(None, use_errno=True)
    return int(system.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)) == 0
