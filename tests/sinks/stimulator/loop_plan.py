"""What a random closed loop is made of, drawn from one seed: a place, rows near its limits, faults, people, devices."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from tests.sinks.stimulator.judge import Row
from tests.sinks.stimulator.reference import bounds_of, most_ma, numbers_of, places

AREAS = {"tdcs": 25.0, "tacs": 25.0, "tens": 25.0, "nmes": 40.0, "dbs": 0.06, "cortical": 0.13, "vns": 0.1}
LIES = ("honest", "under", "units", "null", "over", "delivers_more", "flood", "ignores_stop", "stuck_on")


@dataclass(frozen=True)
class LoopPlan:
    """One loop; times in seconds, shares in [0, 1]."""

    seed: int
    profile: str
    route: str
    area_cm2: float
    rows: tuple[Row, ...]
    limits: dict[str, float]
    gate: dict[str, float]
    decision_s: float
    names_decision_s: bool
    says_arrival: bool
    is_sham: bool
    is_simulated: bool
    """Whether the configuration says so: the area of any other must be read back at arming."""
    window_s: float
    # device
    step_ma: float
    acknowledges: bool
    lie: str
    factor: float
    link_s: float
    """Longest way, one way."""
    tells_clock: bool
    """It takes the moment by which a lease must be over."""
    clock_ahead_ns: int
    drop: float
    refuse: float
    notices_kill: bool
    # disk
    slow_disk: float
    disk_s: float
    disk_fails: bool
    # people and pipeline
    obedience: float
    spam: float
    fault: float
    events: float
    n_runs: int
    run_s: float
    gaps_s: tuple[float, ...] = field(default_factory=tuple)
    power_cut: tuple[bool, ...] = field(default_factory=tuple)

    @property
    def watchdog_s(self) -> float:
        """The watchdog time."""
        return self.gate["watchdog_s"]

    @property
    def lease_s(self) -> float:
        """The longest lease."""
        return min(self.gate.get("lease_s", self.watchdog_s), 2.0)

    @property
    def late_s(self) -> float:
        """How late each ramp of a dose may begin."""
        return 2 * self.gate["heartbeat_s"] + self.watchdog_s


def draw(seed: int) -> LoopPlan:
    """Draw a loop; the same seed gives the same."""
    rng = random.Random(seed)
    is_sane = rng.random() < 0.7
    profile, route = rng.choice([*places(), ("custom", "implanted"), ("cortical", "implanted")])
    area = AREAS.get(profile, 0.06 if route == "implanted" else 10.0) * rng.choice([1.0, 1.0, 0.7, 1.5])
    gate = _gate(rng)
    step_ma = rng.choice([0.01, 0.01, 0.02, 0.05, 0.1, 0.5])
    is_wild = not is_sane
    lie = rng.choice(LIES[1:]) if rng.random() < 0.3 else "honest"
    longer_s = 9.0 if lie in ("under", "units", "over", "delivers_more") else 0.0
    rows = _rows(rng, profile, route, area, gate, step_ma, is_sane, longer_s)
    factor = {"under": rng.choice([0.0, 0.1, 0.4]), "units": 1e-3}.get(lie, 1.0)
    if lie in ("over", "delivers_more"):
        factor = rng.uniform(1.5, 2.1)
    n_runs = rng.choice([1, 1, 2, 3])
    return LoopPlan(
        seed=seed,
        profile=profile,
        route=route,
        area_cm2=area,
        rows=rows,
        limits=_limits(rng, profile, route, area, rows, gate),
        gate=gate,
        decision_s=rng.choice([0.1, 0.25, 0.25, 0.5]),
        names_decision_s=rng.random() < 0.8,
        says_arrival=rng.random() < 0.8,
        is_sham=rng.random() < 0.08,
        is_simulated=rng.random() < 0.5,
        window_s=rng.choice([0.0, 0.2, 0.5]),
        step_ma=step_ma,
        acknowledges=rng.random() < 0.85,
        lie=lie,
        factor=factor,
        link_s=_link_s(rng, gate),
        tells_clock=rng.random() < 0.6,
        clock_ahead_ns=rng.choice([0, -(5 * 10**11), 10**15]),
        drop=rng.choice([0.02, 0.1]) if rng.random() < 0.12 else 0.0,
        refuse=0.05 if rng.random() < 0.08 else 0.0,
        notices_kill=rng.random() < 0.7,
        slow_disk=rng.choice([0.05, 0.3]) if rng.random() < 0.3 else 0.0,
        disk_s=rng.choice([0.001, 0.003, 0.02]),
        disk_fails=rng.random() < 0.03,
        obedience=rng.choice([0.95, 0.99, 1.0]) if not is_wild else rng.uniform(0.5, 0.95),
        spam=rng.choice([0.0, 0.0, 0.1]) if not is_wild else rng.uniform(0.1, 0.5),
        fault=rng.choice([0.0, 0.15, 0.25]) if not is_wild else rng.uniform(0.2, 0.5),
        events=rng.choice([0.0, 0.05, 0.15]) if not is_wild else 0.3,
        n_runs=n_runs,
        run_s=max(14.0, 2.2 * min(row.duration_s for row in rows)) * rng.uniform(0.8, 1.4) / (1 + 0.3 * (n_runs - 1)),
        gaps_s=tuple(rng.choice([0.5, 0.5, 2.0, 20.0, 700.0, 3700.0, 90_000.0]) for _ in range(n_runs)),
        power_cut=tuple(rng.random() < 0.5 for _ in range(n_runs)),
    )


def _link_s(rng: random.Random, gate: dict[str, float]) -> float:
    """Draw a way to the device, mostly one that a lease can be renewed over in time."""
    least_s = 1.5 * gate["heartbeat_s"] + 0.2 * gate["watchdog_s"]
    most_s = min((gate["watchdog_s"] - least_s) / 3, gate.get("lease_s", gate["watchdog_s"]) - least_s)
    if rng.random() < 0.06:
        return most_s * rng.uniform(0.4, 1.2)
    return min(rng.choice([0.0002, 0.002, 0.01, 0.04]), 0.45 * most_s)


def _gate(rng: random.Random) -> dict[str, float]:
    watchdog = rng.choice([0.3, 0.5, 0.5, 0.5, 1.0])
    beat = rng.choice([one for one in (0.05, 0.1, 0.1, 0.25) if 2 * one <= watchdog])
    gate = {
        "watchdog_s": watchdog,
        "heartbeat_s": beat,
        "arming_s": rng.choice([9.0, 20.0, 60.0]),
        "max_age_s": rng.choice([0.25, 0.6]),
        "hold_off_s": rng.choice([1.0, 1.0, 2.0]),
        "confirm_n": rng.choice([2, 2, 3]),
        "dwell_s": rng.choice([0.0, 0.5]),
        "refractory_s": rng.choice([1.0, 1.5, 4.0, 8.0]),
        "lockout_s": rng.choice([0.0, 2.0, 6.0, 60.0]),
        "blanking_s": rng.choice([0.1, 0.1, 0.5]),
        "soft_stop_s": rng.choice([0.0, 0.3, 0.5]),
        "missing_window_s": 1.0,
        "starts_per_episode": rng.choice([1, 2, 3, 5, 5]),
    }
    if rng.random() < 0.2:
        gate["lease_s"] = max(watchdog * 0.8, 1.6 * beat + 0.2 * watchdog)
    if rng.random() < 0.15:
        gate["pulse_blanking_s"] = rng.choice([0.005, 0.02])
    return gate


def _shape(rng: random.Random, profile: str, route: str) -> tuple[float, float, str]:
    """Draw frequency, width and waveform that a place may have."""
    if profile == "tdcs":
        return 0.0, 0.0, "direct"
    if profile == "tacs" or (profile == "custom" and route == "transcutaneous" and rng.random() < 0.3):
        return rng.choice([1.0, 40.0, 77.5]), 0.0, "sine"
    most = bounds_of(profile, route, 1.0).most
    widths = [us for us in (60.0, 100.0, 200.0, 250.0) if us <= float(most["max_pulse_width_us"])]
    rates = [hz for hz in (5.0, 19.9, 20.0, 50.0, 130.0) if hz <= float(most["max_frequency_hz"])]
    return rng.choice(rates), rng.choice(widths), "biphasic"


def _rows(
    rng: random.Random,
    profile: str,
    route: str,
    area: float,
    gate: dict[str, float],
    step_ma: float,
    is_sane: bool,
    longer_s: float,
) -> tuple[Row, ...]:
    bounds = bounds_of(profile, route, area)
    slew, least_ramp = float(bounds.most["max_slew_ma_s"]), float(bounds.most.get("min_ramp_s", 0.0))
    gate["ramp_s"] = max(least_ramp, rng.choice([0.0, 0.1, 0.3, 0.5]))
    longest_ramp = max(least_ramp, 1.2 if is_sane else 4.0)
    if profile == "cortical":
        gate["ramp_s"], longest_ramp = rng.choice([0.0, 0.1, 0.2]), 0.4
    late = 2 * gate["heartbeat_s"] + gate["watchdog_s"]
    is_looked_at = longer_s == 0 and rng.random() < 0.4
    least: list[float] = []
    found: list[Row] = []
    shapes: list[tuple[float, float, str]] = []
    for state in ("alpha", "beta", "gamma")[: rng.choice([1, 2, 2, 3])]:
        hz, us, waveform = _shape(rng, profile, route)
        if (hz, us, waveform) in shapes:
            continue
        shapes.append((hz, us, waveform))
        highest = min(most_ma(hz, us, waveform, bounds), slew * longest_ramp)
        share = rng.choice([0.3, 0.7, 1.0]) if is_sane else rng.choice([0.5, 1.0, 1.0, 1.3, 3.0])
        amplitude = max(round(highest * share - 0.0005, 3), 1.2 * step_ma if is_sane else 0.001, 0.001)
        ramp = max(gate["ramp_s"], amplitude / slew)
        least.append(2 * (ramp + late))
        duration = round(least[-1] * rng.choice([1.0, 1.0, 2.2, 3.5]) + rng.choice([0.6, 2.0, 5.0]) + longer_s, 2)
        most = float(bounds.most["max_dose_s"])
        if is_sane or rng.random() < 0.7:
            duration = min(duration, most)
        found.append(Row(state, hz, us, amplitude, waveform, duration, rng.random() < 0.2))
    gate["look_every_s"] = 30.0
    if is_looked_at:
        share = rng.choice([1.0, 1.0, 1.0, 1.0, 0.9]) if is_sane else rng.choice([0.5, 0.9, 1.0])
        gate["look_every_s"] = round(share * (max(least) if is_sane else least[0]) + rng.choice([0.1, 0.5, 1.5]), 2)
    return tuple(found)


def _limits(
    rng: random.Random, profile: str, route: str, area: float, rows: tuple[Row, ...], gate: dict[str, float]
) -> dict[str, float]:
    """Draw tighter limits of the session, some about as large as a dose or two."""
    bounds = bounds_of(profile, route, area)
    limits: dict[str, float] = {}
    row = rng.choice(rows)
    rates = [float(numbers_of(one.ma, one.hz, one.us, one.waveform, bounds).rate_uc_s) for one in rows]
    dose_mc = max(rate * one.duration_s for rate, one in zip(rates, rows, strict=True)) / 1000
    for name, share, times in (
        ("max_session_charge_mc", 0.4, (1.02, 1.2, 2.0)),
        ("max_day_charge_mc", 0.4, (1.05, 1.3, 2.5)),
    ):
        if rng.random() < share:
            limits[name] = min(float(bounds.most[name]), max(dose_mc * rng.choice(times), 1e-6))
    if rng.random() < 0.3:
        limits["max_starts_per_h"] = min(int(bounds.most["max_starts_per_h"]), rng.choice([2, 3, 4]))
    if rng.random() < 0.2:
        limits["max_session_s"] = min(float(bounds.most["max_session_s"]), row.duration_s * rng.choice([1.2, 2.2]))
    return limits


def settings_of(plan: LoopPlan) -> dict[str, Any]:
    """Return the plan as the section ``stimulation`` of a configuration."""
    device: dict[str, Any] = {"step_ma": plan.step_ma}
    mode = "simulate"
    if not plan.is_simulated:
        mode, device = "real", {"kind": "tcp", "port": 4000}
    disc = {"kind": "disc", "diameter_mm": round(math.sqrt(400 * plan.area_cm2 / math.pi), 4)}
    return {
        "electrode_area_cm2": plan.area_cm2,
        "electrode_shape": disc,
        "subject": "s",
        "electrode": "e",
        "route": plan.route,
        "profile": plan.profile,
        "mode": "sham" if plan.is_sham else mode,
        "gate": plan.gate,
        "limits": plan.limits,
        "device": device,
        "table": [
            {
                "state": row.state,
                "frequency_hz": row.hz,
                "pulse_width_us": row.us,
                "amplitude_ma": row.ma,
                "waveform": row.waveform,
                "duration_s": row.duration_s,
                "min_confidence": 0.8,
                "requires_override": row.is_named_only,
            }
            for row in plan.rows
        ],
    }
