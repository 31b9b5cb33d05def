"""What must not be while anything is delivered, and what follows if it is."""

from __future__ import annotations

from collections import deque
from typing import Any

from neuroloop.config.stimulation import GateSettings
from neuroloop.sinks.stimulator.envelope.envelope import Check
from neuroloop.sinks.stimulator.gate.inputs import Drift, Interruption, PulseInput, StreamChange
from neuroloop.sinks.stimulator.gate.rules import Facts, judge, sign

MAX_WALL_STEP_S = 1.0
"""A jump of the wall clock against the monotonic one that makes the ledger's 24 hours doubtful."""


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
        self._standing: dict[str, Check] = {"no_pulse": sign("no_pulse")}
        self._moments: list[Check] = []
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
        self._moments.append(sign(name, value, limit))

    def pulse(self, one: PulseInput, now_ns: int) -> None:
        """Take a heartbeat.

        Raises
        ------
        ValueError
            If a count fell that never falls.
        """
        hashes = {"limits_changed": one.limits_sha256, "config_changed": one.config_sha256}
        if self._pulse_ns is not None and now_ns - self._pulse_ns > self._settings.watchdog_s * 1e9:
            self.trip("heartbeat", (now_ns - self._pulse_ns) * 1e-9, self._settings.watchdog_s)
        self._pulse_ns, self._age_s = now_ns, one.age_s
        self._standing.pop("no_pulse", None)
        self._set("stream_lost", not one.is_up)
        self._set("hot_dead", not one.is_hot_alive)
        for name, sha256 in hashes.items():
            self._set(name, sha256 != self._hashes[name], sha256, self._hashes[name])
        if one.progress != self._progress:
            self._progress, self._progress_ns = one.progress, now_ns
        if one.received and self.hold_off_until_ns is None:
            self._begin_hold_off(now_ns)
        self._judge_missing(now_ns, one.received, one.missing)
        for name, found, allowed in (
            ("nonfinite", one.nonfinite, 0),
            ("clock_step", one.clock_steps, self._small_steps),
        ):
            before = self._counts.get(name)
            if before is not None and found - before > allowed:
                self.trip(name, found - before, allowed)
            if before is None or found > before:
                self._counts[name] = found
                self._small_steps = 0 if name == "clock_step" else self._small_steps
        offset_s = one.wall_s - now_ns * 1e-9
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

    def event(self, one: Interruption | Drift | StreamChange, now_ns: int) -> None:
        """Take a gap, skip, artifact, drift or stream event."""
        if isinstance(one, Interruption):
            self.trip(one.kind, one.figure)
        elif isinstance(one, Drift):
            (self._drifting.add if one.holds else self._drifting.discard)(one.monitor)
            self._set("drift", bool(self._drifting), sorted(self._drifting))
        else:
            self._stream_event(one, now_ns)

    def _stream_event(self, one: StreamChange, now_ns: int) -> None:
        what, step_s = one.what, one.step_s
        if what == "clock_step" and step_s is not None:
            most = self._settings.max_clock_step_s
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
            self.trip("counter_reset", one.figure)
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
            self._standing[name] = sign(name, value, limit)
        else:
            self._standing.pop(name, None)

    def _begin_hold_off(self, now_ns: int) -> None:
        self.hold_off_until_ns = now_ns + round(self._settings.hold_off_s * 1e9)

    def facts(self, now_ns: int, heard_ns: int | None) -> dict[str, Any]:
        """Return what `Facts` hold of the pipeline: what stands, and how long everything has been silent."""
        pulse_s = stuck_s = age_s = silent_s = None
        if self._pulse_ns is not None:
            pulse_s, stuck_s = (now_ns - self._pulse_ns) * 1e-9, (now_ns - self._progress_ns) * 1e-9
            age_s = None if self._age_s is None else self._age_s + pulse_s
        if self._max_silence_s is not None and heard_ns is not None:
            silent_s = (now_ns - heard_ns) * 1e-9
        return {
            "settings": self._settings,
            "standing": dict(self._standing),
            "pulse_s": pulse_s,
            "stuck_s": stuck_s,
            "age_s": age_s,
            "silent_s": silent_s,
            "most_silent_s": self._settings.watchdog_s - self._round_trip_s,
            "max_age_s": min(self._max_age_s, self._settings.watchdog_s - self._round_trip_s),
            "max_silence_s": self._max_silence_s or 0.0,
            "hold_off_until_ns": self.hold_off_until_ns,
        }

    def take(self, facts: Facts) -> list[Check]:
        """Return what happened since the last call and what holds now; either begins the hold-off anew."""
        moments, self._moments = self._moments, []
        trips = [*moments, *judge("run", facts)]
        if trips and self.hold_off_until_ns is not None:
            self._begin_hold_off(facts.now_ns)
        return trips
