"""What a simulated stimulator itself says it delivered, held against the limits; computed apart from the gate."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.errors import RecordingError
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits

_EXACT = 1e-9
"""Relative; what is left of decimal fractions in binary."""


@dataclass(frozen=True)
class DeviceProof:
    """What became of the check.

    Parameters
    ----------
    findings : tuple of str
        What was beyond a limit, one line each.
    n_intervals : int
        Stretches of time with the output on, one per lease.
    on_s, charge_mc : float
    """

    findings: tuple[str, ...]
    n_intervals: int
    on_s: float
    charge_mc: float

    def line(self) -> str:
        """Say it in one line."""
        said = f"{self.n_intervals} leases, on for {self.on_s:.1f} s, {self.charge_mc:.3f} mC"
        return f"{said}, all within the limits" if not self.findings else f"{said}; {'; '.join(self.findings)}"


def prove_device(record: Path, settings: StimulationSettings, limits: ProfileLimits) -> DeviceProof:
    """Check a device's own record.

    Parameters
    ----------
    record : Path
        ``device.jsonl`` of a run.
    settings : StimulationSettings
    limits : ProfileLimits
        Of the session.

    Raises
    ------
    RecordingError
        If it cannot be read.
    """
    try:
        lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RecordingError(f"device record must be lines of JSON, got {record.name!r}: {error}") from error
    findings: list[str] = []
    on_s = charge_uc = 0.0
    n_intervals = 0
    is_on = False
    step_ma = settings.device.step_ma
    before: dict[str, Any] | None = None
    for one in lines:
        if one.get("what") == "edge":
            is_on = bool(one["is_on"])
        if one.get("what") != "interval":
            continue
        n_intervals += 1
        seconds = (one["off_ns"] - one["on_ns"]) * 1e-9
        on_s += seconds
        charge_uc += one["charge_uc"]
        faults = [*_faults(one, seconds, settings, limits), *_rise_faults(one, before, step_ma, limits)]
        findings += [f"lease {one['lease']['number']}: {fault}" for fault in faults]
        before = one
    if is_on:
        findings.append("the output must be off at the end, got on")
    most_mc = limits.max_session_charge_mc
    if charge_uc * 1e-3 > most_mc * (1 + _EXACT):
        findings.append(f"session_charge_mc must be at most {most_mc:g}, got {charge_uc * 1e-3:g}")
    return DeviceProof(tuple(findings), n_intervals, on_s, charge_uc * 1e-3)


def _rise_faults(
    one: dict[str, Any], before: dict[str, Any] | None, step_ma: float, limits: ProfileLimits
) -> Iterator[str]:
    """Check how the amplitude came to be what it was: no faster than allowed, no step larger than the device's own."""
    goes_on = before is not None and before["ended_by"] == "renewed" and before["off_ns"] == one["on_ns"]
    step = one["from_ma"] - (before["to_ma"] if goes_on and before is not None else 0.0)
    if step > step_ma * (1 + _EXACT):
        yield f"a step must be at most {step_ma:g} mA, one of the device's, got {step:g}"
    rise, seconds = one["to_ma"] - one["from_ma"], (one["reached_ns"] - one["on_ns"]) * 1e-9
    most = limits.max_slew_ma_s
    if rise > most * seconds * (1 + _EXACT) + step_ma * _EXACT:
        yield f"slew_ma_s must be at most {most:g}, got {rise / seconds if seconds else math.inf:g}"


def _faults(one: dict[str, Any], seconds: float, settings: StimulationSettings, limits: ProfileLimits) -> Iterator[str]:
    """Check one stretch of time with the output on."""
    lease = one["lease"]
    amplitude = max(one["from_ma"], one["to_ma"])
    width, frequency = lease["pulse_width_us"], lease["frequency_hz"]
    if not one["is_granted"]:
        yield "the output must be off without a lease, got on"
    pulsed = lease["waveform"] in ("biphasic", "monophasic")
    charge = amplitude * width / 1e3 if pulsed else None
    density = None if charge is None else charge / settings.electrode_area_cm2
    k = None if not charge or density is None else math.log10(charge * density)
    n_phases = 2 if lease["waveform"] == "biphasic" else 1
    for name, value, most in (
        ("amplitude_ma", amplitude, limits.max_amplitude_ma),
        ("pulse_width_us", width, limits.max_pulse_width_us),
        ("frequency_hz", frequency, limits.max_frequency_hz),
        ("charge_per_phase_uc", charge, limits.max_charge_per_phase_uc),
        ("charge_density_uc_cm2", density, limits.max_charge_density_uc_cm2),
        ("shannon_k", k, limits.max_shannon_k),
        ("duty", n_phases * frequency * width * 1e-6 if pulsed else None, limits.max_duty),
        ("lease_s", seconds, settings.gate.watchdog_s),
    ):
        if value is not None and most is not None and value > most + abs(most) * _EXACT:
            yield f"{name} must be at most {most:g}, got {value:g}"
