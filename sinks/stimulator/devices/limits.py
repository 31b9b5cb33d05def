"""Whether a device would deliver a lease, judged from its limits alone."""

from __future__ import annotations

import math

from neuroloop.sinks.stimulator.devices.charge import charge_per_phase_uc, lease_uc
from neuroloop.sinks.stimulator.records import Capabilities, Lease, Train

_STEP_ERROR = 1e-6
"""A setting may miss its grid by so many steps: what is left of decimal fractions in binary."""
_PULSED = ("biphasic", "monophasic")


def why_not(
    lease: Lease, device: Capabilities, max_charge_per_phase_uc: float = math.inf, *, from_ma: float = 0.0
) -> str | None:
    """Return why a device with these limits would not deliver the lease; ``None`` where it would.

    Parameters
    ----------
    lease : Lease
    device : Capabilities
    max_charge_per_phase_uc : float
        Of a pulse, where the device has such a limit.
    from_ma : float
        Where the output is.
    """
    train = lease.train
    for name, value in (
        ("train.frequency_hz", train.frequency_hz),
        ("train.amplitude_ma", train.amplitude_ma),
        ("train.pulse_width_us", train.pulse_width_us),
        ("slew_ma_s", lease.slew_ma_s),
        ("duration_s", lease.duration_s),
        ("charge_uc", lease.charge_uc),
    ):
        if not (math.isfinite(value) and value >= 0):
            return f"lease.{name} must be a finite number of at least 0, got {value!r}"
    if lease.slew_ma_s == 0:
        return f"lease.slew_ma_s must be above 0, got {lease.slew_ma_s!r}"
    if lease.number < 1:
        return f"lease.number must be at least 1, got {lease.number!r}"
    if not 0 < lease.duration_s <= device.timeout_s:
        return f"lease.duration_s must be in (0, timeout_s={device.timeout_s!r}], got {lease.duration_s!r}"
    return _train_fault(train, device) or _amount_fault(lease, max_charge_per_phase_uc, from_ma)


def _train_fault(train: Train, device: Capabilities) -> str | None:
    """Look at the wave: its kind, frequency and width."""
    if train.waveform not in device.waveforms:
        return f"lease.train.waveform must be one of {list(device.waveforms)!r}, got {train.waveform!r}"
    if (train.frequency_hz == 0) != (train.waveform == "direct"):
        rule = "0 for direct current and above 0 otherwise"
        return f"lease.train.frequency_hz must be {rule}, got {train.frequency_hz!r}"
    if (train.pulse_width_us > 0) != (train.waveform in _PULSED):
        rule = "above 0 for pulses and 0 otherwise"
        return f"lease.train.pulse_width_us must be {rule}, got {train.pulse_width_us!r}"
    for name, value, most, step in (
        ("frequency_hz", train.frequency_hz, device.max_frequency_hz, device.step_hz),
        ("amplitude_ma", train.amplitude_ma, device.max_amplitude_ma, device.step_ma),
        ("pulse_width_us", train.pulse_width_us, device.max_pulse_width_us, device.step_us),
    ):
        if value > most:
            return f"lease.train.{name} must be at most {most!r}, got {value!r}"
        if step > 0 and abs(value / step - round(value / step)) > _STEP_ERROR:
            return f"lease.train.{name} must be a multiple of {step!r}, got {value!r}"
    n_phases = 2 if train.waveform == "biphasic" else 1
    if n_phases * train.pulse_width_us * train.frequency_hz > 1e6:
        most = 1e6 / (n_phases * train.frequency_hz)
        return f"lease.train.pulse_width_us must be at most {most!r} to fit its period, got {train.pulse_width_us!r}"
    return None


def _amount_fault(lease: Lease, max_charge_per_phase_uc: float, from_ma: float) -> str | None:
    """Look at how much: the charge of a phase and that of the whole lease."""
    phase_uc = charge_per_phase_uc(lease.train, max(from_ma, lease.train.amplitude_ma))
    if lease.train.waveform in _PULSED and phase_uc > max_charge_per_phase_uc:
        return f"lease charge per phase must be at most {max_charge_per_phase_uc!r} uC, got {phase_uc!r}"
    # whoever grants may count periods or pulses, and they differ by one pulse
    least_uc = lease_uc(lease, from_ma) - phase_uc
    if lease.charge_uc < least_uc * (1 - 1e-9):
        return f"lease.charge_uc must be at least the {least_uc!r} that the train delivers, got {lease.charge_uc!r}"
    return None
