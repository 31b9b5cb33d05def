"""Timers and clocks: how fine, how punctual, how true."""

from __future__ import annotations

import ctypes
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from neuroloop.stream.tools.doctor.finding import Finding

_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_TIME_ERROR = 5
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def judge_timer(resolution_ns: float, step_ns: float) -> Finding:
    """Judge the timer that latencies are taken with.

    Parameters
    ----------
    resolution_ns : float
        As the system claims.
    step_ns : float
        Smallest step above 0 that was seen.
    """
    found = f"smallest step seen {step_ns:.0f} ns (claimed {resolution_ns:g} ns)"
    if step_ns > 10_000:
        cure = "latencies below this step are not to be trusted; measure on Linux with clock source tsc"
        return Finding("timer", "warn", found, cure)
    return Finding("timer", "ok", found)


def judge_sleep(overshoots_us: Sequence[float]) -> Finding:
    """Judge by how many microseconds sleeps of 1 ms came back late."""
    ordered = sorted(overshoots_us)
    middle, worst = ordered[len(ordered) // 2], ordered[-1]
    found = f"1 ms sleeps end {middle:.0f} us late in the middle, {worst:.0f} us at worst ({len(ordered)} tries)"
    if middle > 1000 or worst > 20_000:
        cure = "something else uses the cores: close it, or allow real-time priority and keep a core free"
        return Finding("sleep", "warn", found, cure)
    return Finding("sleep", "ok", found)


def judge_clocksource(name: str | None) -> Finding:
    """Judge what the kernel reads the time from; None where it does not say."""
    if name is None:
        return Finding("clock source", "note", "not shown by this system", "nothing; the timer's step above tells")
    if name in ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"):
        return Finding("clock source", "ok", name)
    cure = "every look at the clock is a slow system call: boot with clocksource=tsc where the CPU has a stable one"
    return Finding("clock source", "warn", name, cure)


def judge_wall_clock(now_s: float, drift_s: float, *, is_synchronised: bool | None) -> Finding:
    """Judge the calendar clock, which dates the files of a run and nothing else.

    Parameters
    ----------
    now_s : float
        Seconds since 1970.
    drift_s : float
        By how much it ran away from the steady clock during the examination.
    is_synchronised : bool, optional
        What the kernel says; None where it does not.
    """
    if not _EARLIEST <= now_s <= _LATEST:
        return Finding("wall clock", "fail", f"it says {now_s:.0f} s since 1970", "set the date of this machine")
    shown = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    if abs(drift_s) > 0.05:
        found = f"{shown}; it stepped by {drift_s:+.3f} s while being looked at"
        return Finding("wall clock", "warn", found, "let the time service settle before a run; stamps do not use it")
    if is_synchronised is False:
        cure = "start a time service (chrony, systemd-timesyncd) if runs of several machines are compared by date"
        return Finding("wall clock", "note", f"{shown}, synchronised with no time server", cure)
    return Finding("wall clock", "ok", shown + (", synchronised" if is_synchronised else ""))


def timer_step_ns(clock_ns: Callable[[], int] = time.perf_counter_ns, n: int = 2000) -> float:
    """Return the smallest step above 0 that a clock makes, in nanoseconds."""
    readings = [clock_ns() for _ in range(n)]
    steps = [after - before for before, after in itertools.pairwise(readings) if after > before]
    return float(min(steps, default=sys.maxsize))


def sleep_overshoots_us(n: int) -> list[float]:
    """Sleep 1 ms ``n`` times; return by how much each was too long, in microseconds."""
    late = []
    for _ in range(n):
        begin = time.perf_counter_ns()
        time.sleep(0.001)
        late.append((time.perf_counter_ns() - begin) / 1000 - 1000)
    return late


def is_synchronised() -> bool | None:
    """Ask the Linux kernel whether a time service keeps the clock; None where it cannot be asked."""
    if sys.platform != "linux":
        return None
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512)))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


class WallClockWatch:
    """Compare the wall clock with the steady one, from now until `drift_s`."""

    def __init__(self) -> None:
        self._difference = time.time() - time.perf_counter()

    def drift_s(self) -> float:
        """Return by how many seconds the wall clock ran away."""
        return time.time() - time.perf_counter() - self._difference


def examine_timing(*, n_sleeps: int) -> list[Finding]:
    """Look at this machine's timers."""
    resolution_ns = time.get_clock_info("perf_counter").resolution * 1e9
    try:
        source = _CLOCKSOURCE.read_text(encoding="utf-8").strip() or None
    except OSError:
        source = None
    return [
        judge_timer(resolution_ns, timer_step_ns()),
        judge_sleep(sleep_overshoots_us(n_sleeps)),
        judge_clocksource(source),
    ]
