"""What must not be while anything is delivered, and what follows if it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from neuroloop.config.stimulation import GateSettings
from neuroloop.sinks.stimulator.gate.inputs import count, flag, number, number_or_none, text

MAX_WALL_STEP_S = 1.0
"""A jump of the wall clock against the monotonic one that makes the ledger's 24 hours doubtful."""


class Effect(IntEnum):
    """What an interlock does, from the mildest to the hardest."""

    HOLD = 1
    """Ramp down within the soft stop; arming stays."""
    CUT = 2
    """Off at once; arming stays."""
    DISARM = 3
    """Ramp down within the soft stop, then disarmed."""
    KILL = 4
    """Off at once, disarmed."""
    FAULT = 5
    """Off at once, latched until reset."""

    @property
    def is_immediate(self) -> bool:
        """Whether the output goes off without a ramp."""
        return self in (Effect.CUT, Effect.KILL, Effect.FAULT)

    @property
    def disarms(self) -> bool:
        """Whether the operator must arm again."""
        return self >= Effect.DISARM


EFFECTS: dict[str, Effect] = {
    "no_pulse": Effect.CUT,
    "stale": Effect.CUT,
    "decisions_lost": Effect.CUT,
    "missing": Effect.HOLD,
    "gap": Effect.HOLD,
    "skip": Effect.HOLD,
    "artifact": Effect.HOLD,
    "flagged": Effect.HOLD,
    "nonfinite": Effect.HOLD,
    "drift": Effect.HOLD,
    "clock_step": Effect.DISARM,
    "counter_reset": Effect.DISARM,
    "stream_found": Effect.DISARM,
    "wall_clock": Effect.DISARM,
    "stream_lost": Effect.KILL,
    "progress": Effect.KILL,
    "heartbeat": Effect.KILL,
    "lease_lapsed": Effect.KILL,
    "device_off": Effect.KILL,
    "hot_dead": Effect.FAULT,
    "limits_changed": Effect.FAULT,
    "config_changed": Effect.FAULT,
    "log": Effect.FAULT,
    "device_lost": Effect.FAULT,
    "device_nack": Effect.FAULT,
    "device_silent": Effect.FAULT,
    "device_still_on": Effect.FAULT,
    "device_unleased": Effect.FAULT,
    "device_slow": Effect.DISARM,
    "device_excess": Effect.FAULT,
    "device_deficit": Effect.FAULT,
    "input": Effect.FAULT,
    "internal": Effect.FAULT,
}
"""Every interlock by name."""


@dataclass(frozen=True)
class Trip:
    """One interlock that has something against stimulation.

    Parameters
    ----------
    name : str
    value, limit
        JSON values; None where it is not about a number.
    """

    name: str
    value: Any = None
    limit: Any = None

    @property
    def effect(self) -> Effect:
        """What follows."""
        return EFFECTS[self.name]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"interlock": self.name, "effect": self.effect.name, "value": self.value, "limit": self.limit}


class Interlocks:
    """Watch the pipeline's pulse and events.

    Two kinds: those that hold as long as their cause does, and those that happen at a moment. Both begin the hold-off
    anew.

    Parameters
    ----------
    settings : GateSettings
    decision_s : float, optional
    limits_sha256, config_sha256 : str
        What every pulse must say.
    """

    def __init__(
        self, settings: GateSettings, *, decision_s: float | None, limits_sha256: str, config_sha256: str
    ) -> None:
        self._settings = settings
        self._hashes = {"limits_changed": limits_sha256, "config_changed": config_sha256}
        watchdog_s = settings.watchdog_s
        self._max_age_s = min(settings.max_age_s, watchdog_s)
        self._max_silence_s = None if decision_s is None else max(3.0 * decision_s, watchdog_s)
        self._standing: dict[str, Trip] = {"no_pulse": Trip("no_pulse")}
        self._moments: list[Trip] = []
        self._drifting: set[str] = set()
        self._sample_counts: deque[tuple[int, int, int]] = deque()
        self._pulse_ns: int | None = None
        self._age_s: float | None = None
        self._progress = -1
        self._progress_ns = 0
        self._counts: dict[str, int] = {}
        self._small_steps = 0
        self._wall_offset_s: float | None = None
        self._round_trip_s = 0.0
        self.hold_off_until_ns: int | None = None
        """Nothing is passed before it; None before the first sample."""

    def trip(self, name: str, value: Any = None, limit: Any = None) -> None:
        """Note something that happened at this moment."""
        self._moments.append(Trip(name, value, limit))

    def pulse(self, values: Mapping[str, Any], now_ns: int) -> None:
        """Take a heartbeat.

        Raises
        ------
        ValueError
            If it is not as agreed.
        """
        received, missing = count(values, "received"), count(values, "missing")
        nonfinite, steps, progress = (count(values, key) for key in ("nonfinite", "clock_steps", "progress"))
        age_s, wall_s = number_or_none(values, "age_s"), number(values, "wall_s")
        is_up, is_alive = flag(values, "is_up"), flag(values, "hot_alive")
        hashes = {name: text(values, f"{name.removesuffix('_changed')}_sha256") for name in self._hashes}
        if self._pulse_ns is not None and now_ns - self._pulse_ns > self._settings.watchdog_s * 1e9:
            self.trip("heartbeat", (now_ns - self._pulse_ns) * 1e-9, self._settings.watchdog_s)
        self._pulse_ns, self._age_s = now_ns, age_s
        self._standing.pop("no_pulse", None)
        self._set("stream_lost", not is_up)
        self._set("hot_dead", not is_alive)
        for name, sha256 in hashes.items():
            self._set(name, sha256 != self._hashes[name], sha256, self._hashes[name])
        if progress != self._progress:
            self._progress, self._progress_ns = progress, now_ns
        if received and self.hold_off_until_ns is None:
            self._begin_hold_off(now_ns)
        self._judge_missing(now_ns, received, missing)
        for name, found, allowed in (("nonfinite", nonfinite, 0), ("clock_step", steps, self._small_steps)):
            before = self._counts.get(name)
            if before is not None and found - before > allowed:
                self.trip(name, found - before, allowed)
            if before is None or found > before:
                self._counts[name] = found
                self._small_steps = 0 if name == "clock_step" else self._small_steps
        offset_s = wall_s - now_ns * 1e-9
        if self._wall_offset_s is not None and abs(offset_s - self._wall_offset_s) > MAX_WALL_STEP_S:
            self.trip("wall_clock", offset_s - self._wall_offset_s, MAX_WALL_STEP_S)
        self._wall_offset_s = offset_s

    def _judge_missing(self, now_ns: int, received: int, missing: int) -> None:
        """Judge the share of missing samples over the window."""
        books = self._sample_counts
        books.append((now_ns, received, missing))
        window_ns = self._settings.missing_window_s * 1e9
        while len(books) > 2 and now_ns - books[1][0] >= window_ns:
            books.popleft()
        came, lost = received - books[0][1], missing - books[0][2]
        if came < 0 or lost < 0:
            raise ValueError(f"received and missing must never fall, got {received} and {missing}")
        share = lost / (came + lost) if came + lost else 0.0
        self._set("missing", share > self._settings.max_missing, share, self._settings.max_missing)

    def event(self, values: Mapping[str, Any], now_ns: int) -> None:
        """Take a gap, skip, artifact, drift or stream event; others say nothing here.

        Raises
        ------
        ValueError
            If it is not as agreed.
        """
        kind = text(values, "type")
        if kind in ("gap", "skip"):
            n = values.get("missing" if kind == "gap" else "n")
            self.trip(kind, n)
        elif kind == "artifact":
            self.trip("artifact", values.get("kind"))
        elif kind == "drift" and values.get("what") in ("onset", "end"):
            monitor = text(values, "monitor")
            (self._drifting.add if flag(values, "hold") else self._drifting.discard)(monitor)
            self._set("drift", bool(self._drifting), sorted(self._drifting))
        elif kind == "stream":
            self._stream_event(text(values, "what"), values, now_ns)

    def _stream_event(self, what: str, values: Mapping[str, Any], now_ns: int) -> None:
        if what == "clock_step":
            step_s, most = number(values, "step_s"), self._settings.max_clock_step_s
            if abs(step_s) > most:
                self.trip("clock_step", step_s, most)
            else:
                self._small_steps += 1
        elif what == "lost":
            self._set("stream_lost", True)
        elif what == "found":
            self._set("stream_lost", False)
            self.trip("stream_found")
        elif what == "counter_reset":
            self.trip("counter_reset", values.get("number"))
        elif what == "start":
            self._begin_hold_off(now_ns)

    def waited(self, waited_s: float) -> None:
        """Take how long a decision was on its way: one that is too old is not acted upon, however fresh the stream."""
        if waited_s > self._max_age_s:
            self.trip("stale", waited_s, self._max_age_s)

    def flag_rows(self, *, is_good: bool) -> None:
        """Note whether the rows of the newest decision were good."""
        self._set("flagged", not is_good)

    def answered(self, round_trip_s: float, why_slow: str | None) -> None:
        """Note how long the device takes, which silence may not use up, and why that is too long, if it is."""
        self._round_trip_s = round_trip_s
        self._set("device_slow", why_slow is not None, why_slow)

    def log(self, *, is_durable: bool, what: Any = None) -> None:
        """Note whether the log can be written."""
        self._set("log", not is_durable, what)

    def _set(self, name: str, holds: bool, value: Any = None, limit: Any = None) -> None:
        if holds:
            self._standing[name] = Trip(name, value, limit)
        else:
            self._standing.pop(name, None)

    def _begin_hold_off(self, now_ns: int) -> None:
        self.hold_off_until_ns = now_ns + round(self._settings.hold_off_s * 1e9)

    def standing(self, now_ns: int, heard_ns: int | None) -> list[Trip]:
        """Return what holds now, silence included, in the order of `EFFECTS`."""
        found = dict(self._standing)
        settings = self._settings
        if self._pulse_ns is not None:
            since_s, most_s = (now_ns - self._pulse_ns) * 1e-9, settings.watchdog_s - self._round_trip_s
            if since_s > most_s:
                found["heartbeat"] = Trip("heartbeat", since_s, most_s)
            stuck_s = (now_ns - self._progress_ns) * 1e-9
            if stuck_s > most_s:
                found["progress"] = Trip("progress", stuck_s, most_s)
            age_s, oldest_s = None if self._age_s is None else self._age_s + since_s, min(self._max_age_s, most_s)
            if age_s is None or age_s > oldest_s:
                found["stale"] = Trip("stale", age_s, oldest_s)
        if self._max_silence_s is not None and heard_ns is not None:
            silent_s = (now_ns - heard_ns) * 1e-9
            if silent_s > self._max_silence_s:
                found["decisions_lost"] = Trip("decisions_lost", silent_s, self._max_silence_s)
        return [found[name] for name in EFFECTS if name in found]

    def take(self, now_ns: int, heard_ns: int | None) -> list[Trip]:
        """Return what happened since the last call and what holds now; either begins the hold-off anew."""
        moments, self._moments = self._moments, []
        trips = [*moments, *self.standing(now_ns, heard_ns)]
        if trips and self.hold_off_until_ns is not None:
            self._begin_hold_off(now_ns)
        return trips
