"""Leases for tests, and the slow obvious twin of the charge."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from neuroloop.sinks.stimulator.devices.charge import lease_uc
from neuroloop.sinks.stimulator.records import Lease, Train

PULSES = Train(20.0, 2.5, 200.0, "biphasic")


def make_lease(number: int = 1, *, train: Train = PULSES, **changes: Any) -> Lease:
    """Make a lease of half a second that goes to its amplitude at once, with a charge that fits one at it already."""
    lease = Lease(number, train, changes.pop("slew_ma_s", 1e12), changes.pop("duration_s", 0.5), 0.0)
    most_uc = lease_uc(lease, changes.pop("from_ma", train.amplitude_ma))
    return replace(lease, **{"charge_uc": 1.001 * most_uc + 1e-6, **changes})


def slow_charge_uc(train: Train, from_ma: float, to_ma: float, duration_s: float, first_cycle: float = 0.0) -> float:
    """Add up the charge of one sign phase by phase, each integrated with Simpson's rule over its own time."""

    def current_ma(t_s: float) -> float:
        level = from_ma + (to_ma - from_ma) * t_s / duration_s
        if train.waveform == "sine":
            return level * math.sin(2 * math.pi * (first_cycle + train.frequency_hz * t_s))
        return level

    def integral(begin_s: float, end_s: float, n: int) -> float:
        step = (end_s - begin_s) / n
        inner = sum((4 if i % 2 else 2) * current_ma(begin_s + i * step) for i in range(1, n))
        return (current_ma(begin_s) + inner + current_ma(end_s)) * step / 3

    if train.waveform == "direct":
        return 1e3 * integral(0.0, duration_s, 2)
    period_s = 1 / train.frequency_hz
    phase_s = period_s / 2 if train.waveform == "sine" else train.pulse_width_us * 1e-6
    total = 0.0
    for k in range(math.ceil(first_cycle + train.frequency_hz * duration_s) + 1):
        begin_s = (k - first_cycle) * period_s
        low, high = max(0.0, begin_s), min(duration_s, begin_s + phase_s)
        if low < high:
            total += integral(low, high, 64 if train.waveform == "sine" else 2)
    return 1e3 * total
