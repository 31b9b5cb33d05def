"""A second opinion: reads only what a device recorded of itself, and judges it by arithmetic of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from neuroloop.sinks.stimulator.devices.simulator.model import Interval


@dataclass(frozen=True)
class Allowed:
    """What may come out.

    Parameters
    ----------
    settings : set of (float, float, float)
        Frequency in Hz, pulse width in us, highest amplitude in mA.
    full_s : dict
        By frequency: a dose of about this length was given in full.
    """

    settings: frozenset[tuple[float, float, float]]
    area_cm2: float
    max_density_uc_cm2: float
    max_k: float
    max_slew_ma_s: float
    max_step_ma: float
    max_lease_s: float
    max_dose_s: float
    min_off_s: float
    full_s: dict[float, float]
    lockout_s: float
    max_session_uc: float
    max_day_uc: float


def doses(intervals: Sequence[Interval]) -> list[list[Interval]]:
    """Return the intervals of each time with the output on."""
    found: list[list[Interval]] = []
    for one in intervals:
        if found and found[-1][-1].off_ns == one.on_ns and found[-1][-1].ended_by == "renewed":
            found[-1].append(one)
        else:
            found.append([one])
    return found


def faults(intervals: Sequence[Interval], allowed: Allowed) -> list[str]:
    """Return everything that is not allowed in one device's record."""
    found = []
    for one in intervals:
        train = one.lease.train
        most = max(one.from_ma, one.to_ma)
        if train.waveform != "biphasic":
            found.append(f"waveform {train.waveform}")
        if not any(
            math.isclose(train.frequency_hz, hz) and math.isclose(train.pulse_width_us, us) and most <= ma + 1e-9
            for hz, us, ma in allowed.settings
        ):
            found.append(f"{train.frequency_hz} Hz, {train.pulse_width_us} us, {most} mA are not in the table")
        charge = most * train.pulse_width_us / 1000
        if charge / allowed.area_cm2 > allowed.max_density_uc_cm2 * (1 + 1e-9):
            found.append(f"density {charge / allowed.area_cm2}")
        if charge > 0 and math.log10(charge * charge / allowed.area_cm2) > allowed.max_k + 1e-9:
            found.append(f"k of {charge} uC")
        seconds = (one.off_ns - one.on_ns) * 1e-9
        if seconds > allowed.max_lease_s + 1e-6:
            found.append(f"lease of {seconds} s")
        rising_s = (one.reached_ns - one.on_ns) * 1e-9
        if one.to_ma - one.from_ma > allowed.max_slew_ma_s * rising_s * (1 + 1e-9) + 1e-9:
            found.append(f"rise of {one.to_ma - one.from_ma} mA in {rising_s} s")
    found += steps(intervals, allowed.max_step_ma)
    given = doses(intervals)
    for dose in given:
        on_s = (dose[-1].off_ns - dose[0].on_ns) * 1e-9
        if on_s > allowed.max_dose_s:
            found.append(f"dose of {on_s} s")
    for before_dose, after_dose in pairwise(given):
        off_s = (after_dose[0].on_ns - before_dose[-1].off_ns) * 1e-9
        on_s = (before_dose[-1].off_ns - before_dose[0].on_ns) * 1e-9
        is_full = on_s > allowed.full_s.get(before_dose[0].lease.train.frequency_hz, math.inf) - 0.35
        if off_s < (allowed.lockout_s if is_full else allowed.min_off_s):
            found.append(f"off for {off_s} s only")
    return found


def steps(intervals: Sequence[Interval], max_step_ma: float) -> list[str]:
    """Return every sudden change of the amplitude but a switching off."""
    found = []
    for dose in doses(intervals):
        if dose[0].from_ma > max_step_ma:
            found.append(f"start at {dose[0].from_ma} mA")
        for before, after in pairwise(dose):
            if abs(after.from_ma - before.to_ma) > max_step_ma:
                found.append(f"step from {before.to_ma} to {after.from_ma} mA")
    return found


def on_after(intervals: Sequence[Interval], since_ns: int, until_ns: int) -> float:
    """Return the longest time in seconds behind a moment at which the output was still on, up to another moment."""
    last = max(
        (min(one.off_ns, until_ns) for one in intervals if one.on_ns < until_ns and one.off_ns > since_ns),
        default=since_ns,
    )
    return (last - since_ns) * 1e-9


def charge_uc(intervals: Sequence[Interval]) -> float:
    """Return the charge of all of them."""
    return math.fsum(one.charge_uc for one in intervals)
