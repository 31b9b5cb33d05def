"""The charge that a ramped train delivers, in closed form."""

from __future__ import annotations

import math

from neuroloop.sinks.stimulator.records import Lease, Train


def charge_per_phase_uc(train: Train, amplitude_ma: float) -> float:
    """Return the charge of one phase at this amplitude in uC; 0 for direct current, which has no phases."""
    if train.waveform == "direct":
        return 0.0
    if train.waveform == "sine":
        return amplitude_ma * 1e3 / (math.pi * train.frequency_hz)
    return amplitude_ma * train.pulse_width_us / 1e3


def delivered_uc(
    train: Train, *, from_ma: float, slope_ma_s: float, duration_s: float, first_cycle: float = 0.0
) -> float:
    """Return what a train delivers while its amplitude goes linearly, over all phases of one sign.

    Parameters
    ----------
    train : Train
        Its amplitude is not used.
    from_ma, slope_ma_s : float
        Amplitude at the beginning, and its change in mA per second.
    duration_s : float
    first_cycle : float
        Where in its period the train begins, in [0, 1). A pulse fills the first ``frequency * width`` of the period, a
        sine is positive in its first half.

    Returns
    -------
    float
        In uC. A phase that is cut off at the end counts as far as it went.

    Notes
    -----
    With the phase ``u = first_cycle + frequency * t`` the charge is the integral of ``(b + m u) w(u)``, where ``w`` is
    the positive part of the wave of amplitude 1. Whole periods are an arithmetic series; the rest is one primitive.
    """
    if train.waveform == "direct":
        return 1e3 * duration_s * (from_ma + 0.5 * slope_ma_s * duration_s)
    frequency_hz = train.frequency_hz
    per_cycle = slope_ma_s / frequency_hz
    at_zero = from_ma - per_cycle * first_cycle
    moments = _sine_moments if train.waveform == "sine" else _pulse_moments
    duty = frequency_hz * train.pulse_width_us * 1e-6
    zero_0, first_0 = moments(first_cycle, duty)
    zero_1, first_1 = moments(first_cycle + frequency_hz * duration_s, duty)
    return 1e3 / frequency_hz * (at_zero * (zero_1 - zero_0) + per_cycle * (first_1 - first_0))


def lease_uc(lease: Lease, from_ma: float = 0.0) -> float:
    """Return what a lease delivers if it begins at an amplitude, with a pulse, and runs to its end; in uC."""
    return travelled_uc(lease, from_ma=from_ma, duration_s=lease.duration_s)


def travelled_uc(lease: Lease, *, from_ma: float, duration_s: float, first_cycle: float = 0.0) -> float:
    """Return what a lease delivers in a time: on the way to its amplitude at its rate, and there.

    Parameters
    ----------
    lease : Lease
    from_ma : float
        Where the output is when it takes the lease.
    duration_s : float
    first_cycle : float
        As for `delivered_uc`.
    """
    train, way_ma = lease.train, lease.train.amplitude_ma - from_ma
    slope = math.copysign(lease.slew_ma_s, way_ma)
    way_s = min(duration_s, abs(way_ma) / lease.slew_ma_s)
    charge = delivered_uc(train, from_ma=from_ma, slope_ma_s=slope, duration_s=way_s, first_cycle=first_cycle)
    if way_s < duration_s:
        cycle = (first_cycle + train.frequency_hz * way_s) % 1.0
        rest_s = duration_s - way_s
        charge += delivered_uc(train, from_ma=train.amplitude_ma, slope_ma_s=0.0, duration_s=rest_s, first_cycle=cycle)
    return charge


def _pulse_moments(cycle: float, duty: float) -> tuple[float, float]:
    """Return the integrals of ``w(u)`` and ``u w(u)`` from 0 to ``cycle`` for pulses."""
    n = math.floor(cycle)
    rest = min(cycle - n, duty)
    zero = n * duty + rest
    first = duty * n * (n - 1) / 2 + n * duty * duty / 2 + n * rest + rest * rest / 2
    return zero, first


def _sine_moments(cycle: float, _duty: float) -> tuple[float, float]:
    """Return the integrals of ``w(u)`` and ``u w(u)`` from 0 to ``cycle`` for the positive halves of a sine."""
    n = math.floor(cycle)
    rest = min(cycle - n, 0.5)
    turn = 2 * math.pi
    part = (1 - math.cos(turn * rest)) / turn
    zero = n / math.pi + part
    first = n * (n - 1) / 2 / math.pi + n / (4 * math.pi) + n * part
    first += -rest * math.cos(turn * rest) / turn + math.sin(turn * rest) / turn**2
    return zero, first
