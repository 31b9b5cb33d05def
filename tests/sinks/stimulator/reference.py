"""The formulas of the envelope a second time, from the papers, to 50 digits; nothing here comes from the program.

The file of the hard limits is read as text, every number of it as the decimal that stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

HARD_FILE = Path(__file__).parents[3] / "config" / "limits" / "hard.yaml"
PI = Decimal("3.1415926535897932384626433832795028841971693993751")
_C = Context(prec=50)
_ZERO, _ONE = Decimal(0), Decimal(1)


def dec(value: float | str) -> Decimal:
    """Return the decimal that a number is written as."""
    return Decimal(value if isinstance(value, str) else repr(float(value)))


def _div(above: Decimal, below: Decimal) -> Decimal:
    return _C.divide(above, below)


@lru_cache(maxsize=1)
def _hard() -> dict[str, Any]:
    return dict(yaml.load(HARD_FILE.read_text(), Loader=yaml.BaseLoader))


def places() -> list[tuple[str, str]]:
    """Return every profile and route that has limits."""
    return [(profile, route) for profile, routes in _hard()["profiles"].items() for route in routes]


@dataclass(frozen=True)
class Bounds:
    """What may be, by name of the limit, each as a decimal; a limit that is not there bounds nothing."""

    most: Mapping[str, Decimal]
    waveforms: frozenset[str]
    area_cm2: Decimal
    load_ohm: Decimal

    def of(self, name: str) -> Decimal | None:
        """Return a limit."""
        return self.most.get(name)


def bounds_of(
    profile: str, route: str, area_cm2: float, *, load_ohm: float = 500.0, session: Mapping[str, float] | None = None
) -> Bounds:
    """Return the hard limits of a place with those of the session in their place where they are tighter."""
    row = _hard()["profiles"][profile][route]
    most = {key: dec(value) for key, value in row.items() if isinstance(value, str)}
    area = dec(area_cm2)
    if "max_shannon_k" in most:
        most["max_shannon_k"] = min(most["max_shannon_k"], dec(_hard()["shannon"]["default_k"]))
    small = _hard()["microelectrode"]
    if route == "implanted" and area < dec(small["below_area_cm2"]):
        least = dec(small["max_charge_per_phase_uc"])
        most["max_charge_per_phase_uc"] = min(most.get("max_charge_per_phase_uc", least), least)
    for key, value in (session or {}).items():
        given = dec(value)
        tighter = max if key.startswith("min_") else min
        most[key] = tighter(most.get(key, given), given)
    return Bounds(most, frozenset(row["waveforms"]), area, dec(load_ohm))


@dataclass(frozen=True)
class Numbers:
    """What a train is at its peak, in the units of the limits."""

    values: Mapping[str, Decimal]
    rate_uc_s: Decimal
    """Charge a second, over the phases of one sign."""
    pulse_uc: Decimal
    """Of one phase; 0 for direct current."""


def numbers_of(peak_ma: float, hz: float, us: float, waveform: str, bounds: Bounds) -> Numbers:
    """Compute everything that has a limit, for a current of this peak."""
    i, f, w, area, load = dec(peak_ma), dec(hz), dec(us), bounds.area_cm2, bounds.load_ohm
    found = {
        "max_amplitude_ma": i,
        "max_frequency_hz": f,
        "max_pulse_width_us": w,
        "max_current_density_ma_cm2": _div(i, area),
        "max_voltage_v": i * load / 1000,
    }
    if waveform == "direct":
        square, net, duty, charge, rate = i * i, i * 1000, _ONE, _ZERO, i * 1000
    elif waveform == "sine":
        # half a period of I sin: Q = I T / pi; its mean square is a half
        charge = _div(i * 1000, PI * f)
        square, net, duty, rate = i * i / 2, _ZERO, _ONE, _div(i * 1000, PI)
        found["max_pulse_energy_mj"] = _div(i * i * load, 4000 * f)
    else:
        phases = 2 if waveform == "biphasic" else 1
        charge, rate = i * w / 1000, i * w * f / 1000
        duty = phases * w * f / 1000000
        square, net = i * i * duty, _ZERO if phases == 2 else rate
        found["max_pulse_energy_mj"] = i * i * load * w / 1000000000
    if charge > 0:
        density = _div(charge, area)
        found["max_charge_per_phase_uc"] = charge
        found["max_charge_density_uc_cm2"] = density
        found["max_shannon_k"] = _C.log10(charge * density)
    rms = _C.sqrt(square)
    found |= {"max_rms_ma": rms, "max_rms_density_ma_cm2": _div(rms, area), "max_net_dc_ua": net, "max_duty": duty}
    return Numbers(found, rate, charge)


def broken(peak_ma: float, hz: float, us: float, waveform: str, bounds: Bounds) -> list[str]:
    """Return every limit that a train is above."""
    found = numbers_of(peak_ma, hz, us, waveform, bounds).values
    above = [] if waveform in bounds.waveforms else [f"waveform {waveform}"]
    for name, value in found.items():
        most = bounds.of(name)
        if most is not None and value > most:
            above.append(f"{name} must be at most {most}, got {value:.12g}")
    return above


def most_ma(hz: float, us: float, waveform: str, bounds: Bounds) -> float:
    """Return about the largest amplitude that no limit is against; all rise with it, by halving the interval."""
    low, high = 0.0, float(bounds.of("max_amplitude_ma") or 100)
    if not broken(high, hz, us, waveform, bounds):
        return high
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if broken(middle, hz, us, waveform, bounds) else (middle, high)
    return low


def stepped(value: float, step: float) -> Decimal:
    """Return the multiple of a step that is not above a value."""
    if step == 0:
        return dec(value)
    size = dec(step)
    return (dec(value) // size) * size
