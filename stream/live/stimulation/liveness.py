"""Signs of life of a run, sampled from shared memory at every heartbeat of the stimulator process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.live.stimulation.file_watch import FileWatch
from neuroloop.stream.ring.header import OPEN, STATE, WRITER
from neuroloop.stream.sources.clock_watch import ClockWatch

_LOOK_NS = 1_000_000_000


class Liveness:
    """What the gate is told at each heartbeat.

    Parameters
    ----------
    shared : Shared
    source : SourcePlan
    limits, config : FileWatch
        Files that must stay as they were.
    day_uc : callable
        Charge of the last 24 h by the ledger.
    watchdog_s : float
        How long the supervisor or the cold process may be silent.
    """

    def __init__(
        self,
        shared: Shared,
        source: SourcePlan,
        *,
        limits: FileWatch,
        config: FileWatch,
        day_uc: Callable[[], float],
        watchdog_s: float,
    ) -> None:
        if shared.stimulation is None:
            raise ValueError("stimulation must be shared, got None")
        names = ("progress", "received", "filled", "jumped", "nonfinite", "clock_steps", "stream_up", "newest_stamp",
                 "first_offset", "started_ns", "newest_arrival_ns")  # fmt: skip
        self._numbers = {name: shared.numbers(name) for name in names}
        self._hot = shared.stimulation.requests.header
        self._silent_after = {name: shared.stimulation.numbers(f"{name}_ns") for name in ("supervisor", "cold")}
        self._watchdog_ns = round(watchdog_s * 1e9)
        self._limits, self._config = limits, config
        self._day_uc = day_uc
        self._is_played = source.is_played
        self.clock = ClockWatch(source.open_clock)
        self._looked_ns = 0

    @property
    def hot_pid(self) -> int:
        """The hot process; 0 before it has begun."""
        return int(self._hot.words[WRITER])

    @property
    def is_hot_dead(self) -> bool:
        """Whether the hot process has ended in any other way (20 us)."""
        return bool(self._hot.words[STATE] == OPEN and not self._hot.is_held(WRITER))

    def silent(self, now_ns: int, round_trip_ns: int) -> tuple[str, float] | None:
        """Return which process beside the hot one has not moved for longer than the watchdog allows, and how long.

        What the device takes to act is taken off the watchdog time.
        """
        most_ns = self._watchdog_ns - round_trip_ns
        for name, word in self._silent_after.items():
            then = int(word[0])
            if then and now_ns - then > most_ns:
                return name, (now_ns - then) * 1e-9
        return None

    def pulse(self, now_ns: int) -> dict[str, Any]:
        """Return the values of a ``pulse``."""
        if now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self._limits.look()
            self._config.look()
        numbers = {name: int(self._numbers[name][0]) for name in
                   ("progress", "received", "filled", "jumped", "nonfinite", "clock_steps")}  # fmt: skip
        return {
            "progress": numbers["progress"],
            "age_s": self._age_s(now_ns),
            "received": numbers["received"],
            "missing": numbers["filled"] + numbers["jumped"],
            "nonfinite": numbers["nonfinite"],
            "clock_steps": numbers["clock_steps"],
            "is_up": bool(self._numbers["stream_up"][0]),
            "hot_alive": not self.is_hot_dead,
            "wall_s": time.time(),
            "day_charge_uc": self._day_uc(),
            "limits_sha256": self._limits.now,
            "config_sha256": self._config.now,
        }

    def _age_s(self, now_ns: int) -> float | None:
        """Return how old the newest sample is by its stamp, or by its arrival where that is longer ago.

        None before the first one, or as long as the sender's clock is not known.
        """
        if not int(self._numbers["started_ns"][0]):
            return None
        offset_s = float(self._numbers["first_offset"][0]) if self._is_played else self.clock.offset_s
        if offset_s is None:
            return None
        by_stamp = now_ns * 1e-9 - (float(self._numbers["newest_stamp"][0]) + offset_s)
        return max(by_stamp, (now_ns - int(self._numbers["newest_arrival_ns"][0])) * 1e-9)
