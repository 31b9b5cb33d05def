"""What a row of the table would do to tissue, checked rule by rule against the limits; refused, never clamped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings
from neuroloop.sinks.stimulator.envelope.balance import imbalance_of
from neuroloop.sinks.stimulator.envelope.charge import Quantities, exact, on_grid, quantities
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits, ShannonLimits
from neuroloop.sinks.stimulator.records import Capabilities, Train

SHORTEST_RAMP_S = 1e-3
"""A ramp, or the rest of one, that is shorter is left out."""


@dataclass(frozen=True)
class Check:
    """One rule, its value, its limit, and whether it holds.

    Parameters
    ----------
    rule : str
        Name of the quantity, with its unit.
    value, limit : float, str, list or None
        No limit where there is none; a rule that is not about numbers says it in words.
    ok : bool
    relation : str
        ``at most``, ``at least``, ``one of``, ``above``, ``given``.
    warns : bool
        Allowed, but to be looked at.
    """

    rule: str
    value: Any
    limit: Any
    ok: bool
    relation: str = "at most"
    warns: bool = False

    def sentence(self) -> str:
        """Return the rule in the form of the project's errors."""
        rule = f"{self.relation} {_shown(self.limit)}".strip()
        return f"{self.rule} must be {rule}, got {_shown(self.value)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return {"rule": self.rule, "value": self.value, "limit": self.limit, "ok": self.ok, "relation": self.relation}


def _shown(value: Any) -> str:
    """Round numbers to four digits for reading; the record has them in full."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(one) for one in value)
    return str(value)


@dataclass(frozen=True)
class Assessment:
    """One row of the table, quantised to the device, with all its numbers and every rule.

    Parameters
    ----------
    state : str
    train : Train
        What would be sent, on the device's grid.
    duration_s, ramp_s : float
        Longest dose, ramps included; length of each ramp.
    numbers : dict
        Quantities as JSON values.
    checks : tuple of Check
        In the order of judging.
    rate_uc_s : float
        Charge per second at full amplitude, over the phases of one sign.
    """

    state: str
    train: Train
    duration_s: float
    ramp_s: float
    numbers: dict[str, Any]
    checks: tuple[Check, ...]
    rate_uc_s: float

    @property
    def failures(self) -> tuple[Check, ...]:
        """The rules that do not hold."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def is_allowed(self) -> bool:
        """Whether every rule holds."""
        return not self.failures

    @property
    def reason(self) -> str:
        """Return all rules that do not hold, with both numbers of each."""
        return "; ".join(check.sentence() for check in self.failures)


def quantised(row: RecommendationSettings, capabilities: Capabilities | None) -> Train:
    """Put a row on the device's grid: every value becomes the nearest lower step."""
    if capabilities is None:
        return Train(row.frequency_hz, row.amplitude_ma, row.pulse_width_us, row.waveform)
    return Train(
        frequency_hz=on_grid(row.frequency_hz, capabilities.step_hz),
        amplitude_ma=on_grid(row.amplitude_ma, capabilities.step_ma),
        pulse_width_us=on_grid(row.pulse_width_us, capabilities.step_us),
        waveform=row.waveform,
    )


class Envelope:
    """The limits around one electrode, ready to judge rows.

    Parameters
    ----------
    settings : StimulationSettings
    limits : ProfileLimits
        What `neuroloop.sinks.stimulator.envelope.limits.session_limits` returned.
    shannon : ShannonLimits
        For the warning.
    capabilities : Capabilities, optional
        The device's; without it nothing is quantised and its own ranges are not judged.
    """

    def __init__(
        self,
        settings: StimulationSettings,
        limits: ProfileLimits,
        shannon: ShannonLimits,
        capabilities: Capabilities | None,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self._warn_k = shannon.warn_k
        self._capabilities = capabilities
        self.imbalance = imbalance_of(settings, capabilities, limits.default_imbalance)

    def assess(self, row: RecommendationSettings) -> Assessment:
        """Judge one row by every rule."""
        train = quantised(row, self._capabilities)
        grid = self._grid_checks(row, train)
        if not all(check.ok for check in grid):
            return Assessment(row.state, train, row.duration_s, 0.0, {}, tuple(grid), 0.0)
        found = quantities(
            train,
            area_cm2=self.settings.electrode_area_cm2,
            load_ohm=self.settings.impedance_ohm,
            imbalance=self.imbalance,
        )
        ramp = self._ramp_s(train)
        dose = found.rate_uc_s * (exact(row.duration_s) - ramp) / 1000
        checks = [*grid, *self._device_checks(train), *self._tissue_checks(train, found)]
        checks += self._dose_checks(row, train, ramp, dose)
        return Assessment(
            state=row.state,
            train=train,
            duration_s=row.duration_s,
            ramp_s=float(ramp),
            numbers=_numbers(train, found, row.duration_s, ramp, dose),
            checks=tuple(checks),
            rate_uc_s=float(found.rate_uc_s),
        )

    def assess_table(self, rows: Sequence[RecommendationSettings]) -> tuple[Assessment, ...]:
        """Judge every row."""
        return tuple(self.assess(row) for row in rows)

    def _ramp_s(self, train: Train) -> Fraction:
        """Return the length of each ramp: as asked for, or longer where the slew limit needs it."""
        slowest = exact(train.amplitude_ma) / exact(self.limits.max_slew_ma_s)
        return max(exact(self.settings.gate.ramp_s), slowest)

    def _grid_checks(self, row: RecommendationSettings, train: Train) -> list[Check]:
        """Judge what is left on the device's grid."""
        checks = []
        for key in ("frequency_hz", "amplitude_ma", "pulse_width_us"):
            wanted, left = getattr(row, key), getattr(train, key)
            if wanted > 0:
                checks.append(Check(f"quantised_{key}", left, 0.0, left > 0, "above"))
        return checks

    def _device_checks(self, train: Train) -> list[Check]:
        """Judge by what the device can do."""
        device = self._capabilities
        if device is None:
            return []
        checks = [
            Check(
                "device_waveform", train.waveform, list(device.waveforms), train.waveform in device.waveforms, "one of"
            )
        ]
        for key in ("frequency_hz", "amplitude_ma", "pulse_width_us"):
            value, most = getattr(train, key), getattr(device, f"max_{key}")
            if value > 0:
                checks.append(Check(f"device_{key}", value, most, value <= most))
        return checks

    def _tissue_checks(self, train: Train, found: Quantities) -> list[Check]:
        """Judge by what it does at full amplitude."""
        limits = self.limits
        area = found.area_cm2
        waveforms = list(limits.waveforms)
        checks = [Check("waveform", train.waveform, waveforms, train.waveform in waveforms, "one of")]
        for rule, value, limit in (
            ("amplitude_ma", exact(train.amplitude_ma), limits.max_amplitude_ma),
            ("pulse_width_us", exact(train.pulse_width_us), limits.max_pulse_width_us),
            ("frequency_hz", exact(train.frequency_hz), limits.max_frequency_hz),
            ("charge_per_phase_uc", found.charge_per_phase_uc, limits.max_charge_per_phase_uc),
            ("charge_density_uc_cm2", found.charge_density_uc_cm2, limits.max_charge_density_uc_cm2),
        ):
            checks += _at_most(rule, value, limit)
        if train.waveform == "sine" and limits.min_frequency_hz is not None:
            least = limits.min_frequency_hz
            ok = exact(train.frequency_hz) >= exact(least)
            checks.append(Check("min_frequency_hz", train.frequency_hz, least, ok, "at least"))
        if found.k is not None and limits.max_shannon_k is not None:
            most = limits.max_shannon_k
            ok, warns = Fraction(found.k) <= exact(most), Fraction(found.k) >= exact(self._warn_k)
            checks.append(Check("shannon_k", found.reported_k, most, ok, warns=warns))
        checks += _at_most("current_density_ma_cm2", found.current_density_ma_cm2, limits.max_current_density_ma_cm2)
        for rule, most_rms, divisor in (
            ("rms_ma", limits.max_rms_ma, Fraction(1)),
            ("rms_density_ma_cm2", limits.max_rms_density_ma_cm2, area),
        ):
            if most_rms is not None:
                ok = found.rms_squared_ma2 <= (exact(most_rms) * divisor) ** 2
                checks.append(Check(rule, found.rms_ma / float(divisor), most_rms, ok))
        checks += _at_most("net_dc_ua", found.net_dc_ua, limits.max_net_dc_ua)
        checks += _at_most("duty", found.duty, limits.max_duty)
        checks += _at_most("pulse_energy_mj", found.pulse_energy_mj, limits.max_pulse_energy_mj)
        checks += _at_most("voltage_v", found.voltage_v, limits.max_voltage_v)
        return checks

    def _dose_checks(self, row: RecommendationSettings, train: Train, ramp: Fraction, dose_mc: Fraction) -> list[Check]:
        """Judge ramps, the dose as a whole, and what the operator must say."""
        limits = self.limits
        duration = exact(row.duration_s)
        checks = []
        if ramp > 0:
            checks += _at_most("slew_ma_s", exact(train.amplitude_ma) / ramp, limits.max_slew_ma_s)
        checks.append(Check("ramp_s", float(ramp), limits.min_ramp_s, ramp >= exact(limits.min_ramp_s), "at least"))
        gate = self.settings.gate  # a lease may wait for the disk, and a ramp for the next heartbeat
        late = 2 * exact(gate.heartbeat_s) + exact(gate.watchdog_s)
        checks += _at_most("ramps_s", 2 * (ramp + late), row.duration_s)
        checks += _at_most("dose_s", duration, limits.max_dose_s)
        checks += _at_most("dose_session_s", duration, limits.max_session_s)
        checks += _at_most("dose_session_charge_mc", dose_mc, limits.max_session_charge_mc)
        checks += _at_most("dose_day_charge_mc", dose_mc, limits.max_day_charge_mc)
        asks, least = row.min_confidence, limits.min_confidence
        checks.append(Check("row_min_confidence", asks, least, asks >= least, "at least"))
        band = limits.override_band_hz
        if band is not None and band[0] <= train.frequency_hz <= band[1]:
            rule = "true from {:g} to {:g} Hz".format(*band)
            checks.append(Check("requires_override", row.requires_override, rule, row.requires_override, ""))
        return checks


def _at_most(rule: str, value: Fraction | None, limit: float | None) -> list[Check]:
    """Judge one number exactly; nothing where it or its limit does not exist."""
    if value is None or limit is None:
        return []
    return [Check(rule, float(value), limit, value <= exact(limit))]


def _numbers(train: Train, found: Quantities, duration_s: float, ramp: Fraction, dose_mc: Fraction) -> dict[str, Any]:
    """Return the quantities as JSON values."""

    def plain(value: Fraction | None) -> float | None:
        return None if value is None else float(value)

    n_pulses = None
    if train.waveform != "direct":
        n_pulses = int(exact(train.frequency_hz) * exact(duration_s))
    return {
        "charge_per_phase_uc": plain(found.charge_per_phase_uc),
        "charge_density_uc_cm2": plain(found.charge_density_uc_cm2),
        "shannon_k": found.reported_k,
        "current_density_ma_cm2": float(found.current_density_ma_cm2),
        "rms_ma": found.rms_ma,
        "rms_density_ma_cm2": found.rms_ma / float(found.area_cm2),
        "power_density_mw_cm2": found.power_density_mw_cm2,
        "mean_phase_ua": float(found.mean_phase_ua),
        "net_dc_ua": float(found.net_dc_ua),
        "duty": float(found.duty),
        "duty_one_phase": float(found.duty_one_phase),
        "pulse_energy_mj": plain(found.pulse_energy_mj),
        "voltage_v": float(found.voltage_v),
        "pulses": n_pulses,
        "ramp_s": float(ramp),
        "full_charge_mc": float(found.rate_uc_s * exact(duration_s) / 1000),
        "dose_charge_mc": float(dose_mc),
    }


def parameters(train: Train) -> dict[str, Any]:
    """Return a train as JSON values."""
    return {
        "frequency_hz": train.frequency_hz,
        "amplitude_ma": train.amplitude_ma,
        "pulse_width_us": train.pulse_width_us,
        "waveform": train.waveform,
    }
