"""Quantities of a train of pulses, computed exactly: charge, density, Shannon's k, rms, net current, energy.

Numbers enter as their shortest decimal text (2.5 is 5/2, 0.1 is 1/10) and are computed with as fractions, so that a
value that lies on a limit is not above it by rounding, and every machine says the same.
"""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from neuroloop.sinks.stimulator.records import Train

_PI = Fraction("3.14159265358979323846264338327950288")
_LOG = decimal.Context(prec=40, rounding=decimal.ROUND_HALF_EVEN)


@lru_cache(maxsize=4096)  # 5 us, a settled train asks for the same few numbers again and again
def exact(value: float) -> Fraction:
    """Return the decimal number that a float is written as."""
    return Fraction(repr(float(value)))


@lru_cache(maxsize=4096)
def on_grid(value: float, step: float) -> float:
    """Return the nearest multiple of a device's step that is not above a value; the value itself for step 0."""
    if step == 0:
        return float(value)
    size = exact(step)
    return float((exact(value) // size) * size)


def shannon_k(charge_uc: Fraction, area_cm2: Fraction) -> decimal.Decimal:
    """Return ``log10(Q * D)`` with Q in uC per phase and D in uC/cm2 per phase, to 40 digits.

    References
    ----------
    .. [1] Shannon, IEEE Trans. Biomed. Eng. 39(4), 424-426, 1992.
    """
    product = charge_uc * charge_uc / area_cm2
    return _LOG.log10(_LOG.divide(decimal.Decimal(product.numerator), decimal.Decimal(product.denominator)))


@dataclass(frozen=True)
class Quantities:
    """What a train means for tissue, at its full amplitude; ``None`` where a waveform has no such thing.

    Parameters
    ----------
    charge_per_phase_uc, charge_density_uc_cm2 : Fraction or None
    k : Decimal or None
        Shannon's.
    current_density_ma_cm2 : Fraction
        Peak.
    rms_squared_ma2 : Fraction
        Square of the root of the mean square, which is exact.
    net_dc_ua : Fraction
    duty, duty_one_phase : Fraction
        Share of the time in which current flows, in all phases and in one.
    mean_phase_ua : Fraction
        Mean current of the phases of one sign.
    pulse_energy_mj : Fraction or None
        Of one phase, into the stated load.
    voltage_v : Fraction
        Peak, across the stated load.
    rate_uc_s : Fraction
        Charge per second, over the phases of one sign.
    """

    charge_per_phase_uc: Fraction | None
    charge_density_uc_cm2: Fraction | None
    k: decimal.Decimal | None
    current_density_ma_cm2: Fraction
    rms_squared_ma2: Fraction
    net_dc_ua: Fraction
    duty: Fraction
    duty_one_phase: Fraction
    mean_phase_ua: Fraction
    pulse_energy_mj: Fraction | None
    voltage_v: Fraction
    rate_uc_s: Fraction
    area_cm2: Fraction
    load_ohm: Fraction

    @property
    def rms_ma(self) -> float:
        """Root of the mean square, of the correctly rounded square."""
        return math.sqrt(float(self.rms_squared_ma2))

    @property
    def power_density_mw_cm2(self) -> float:
        """Power in the stated load per area of the contact."""
        return float(self.rms_squared_ma2 * self.load_ohm / 1000 / self.area_cm2)

    @property
    def reported_k(self) -> float | None:
        """Shannon's k to 6 digits behind the point."""
        return None if self.k is None else float(f"{self.k:.6f}")


def quantities(train: Train, *, area_cm2: float, load_ohm: float, imbalance: float) -> Quantities:
    """Compute what a train means for an electrode.

    Parameters
    ----------
    train : Train
        With an amplitude above 0.
    area_cm2 : float
        Of the smallest active contact.
    load_ohm : float
        For energy, power and voltage.
    imbalance : float
        Share of a phase's charge that the phase of the other sign leaves; what stays is the net current.
    """
    current, area, load = exact(train.amplitude_ma), exact(area_cm2), exact(load_ohm)
    frequency, width = exact(train.frequency_hz), exact(train.pulse_width_us)
    charge: Fraction | None = None
    energy: Fraction | None = None
    if train.waveform == "direct":
        rate, square, net, duty, one = current * 1000, current**2, current * 1000, Fraction(1), Fraction(1)
    elif train.waveform == "sine":
        charge = current * 1000 / _PI / frequency
        energy = current**2 * load / 4 / frequency / 1000
        rate, square, duty, one = charge * frequency, current**2 / 2, Fraction(1), Fraction(1, 2)
        net = rate * exact(imbalance)
    else:
        charge = current * width / 1000
        energy = current**2 * load * width / 10**9
        one = frequency * width / 10**6
        n_phases = 2 if train.waveform == "biphasic" else 1
        duty, square = n_phases * one, current**2 * n_phases * one
        rate = charge * frequency
        net = rate * exact(imbalance) if train.waveform == "biphasic" else rate
    return Quantities(
        charge_per_phase_uc=charge,
        charge_density_uc_cm2=None if charge is None else charge / area,
        k=None if not charge else shannon_k(charge, area),
        current_density_ma_cm2=current / area,
        rms_squared_ma2=square,
        net_dc_ua=net,
        duty=duty,
        duty_one_phase=one,
        mean_phase_ua=rate,
        pulse_energy_mj=energy,
        voltage_v=current * load / 1000,
        rate_uc_s=rate,
        area_cm2=area,
        load_ohm=load,
    )


def ramp_charge_uc(train: Train, from_ma: float, slew_ma_s: float, seconds: float) -> float:
    """Return the most charge of a train that goes to its amplitude at a rate and stays there.

    Parameters
    ----------
    train : Train
        With the amplitude to go to.
    from_ma : float
        Where it begins, at most.
    slew_ma_s : float
    seconds : float
        Of all of it.

    Notes
    -----
    More charge than from any lower begin. Going down the end is a bound only where nothing above ``from_ma`` came
    before, which is what ``at most`` says.
    """
    to_ma = train.amplitude_ma
    way_s = min(seconds, abs(to_ma - from_ma) / slew_ma_s)
    turned_ma = min(to_ma, from_ma + slew_ma_s * way_s) if to_ma > from_ma else max(to_ma, from_ma - slew_ma_s * way_s)
    mean_ma = ((from_ma + turned_ma) / 2 * way_s + turned_ma * (seconds - way_s)) / seconds
    most_ma = max(from_ma, turned_ma)
    return train_charge_uc(train, 2 * mean_ma - most_ma, most_ma, seconds) * (1 + 1e-12)


def train_charge_uc(train: Train, start_ma: float, end_ma: float, seconds: float) -> float:
    """Return the most charge, over the phases of one sign, that a linear ramp of a train delivers in a time.

    Parameters
    ----------
    train : Train
        Its own amplitude is not used.
    start_ma, end_ma : float
        Amplitudes at the begin and end of the time.
    seconds : float

    Notes
    -----
    Pulses sample the ramp: their sum is at most the integral plus one pulse of the larger amplitude, wherever the
    first one lies.
    """
    if seconds <= 0:
        return 0.0
    mean, most = (start_ma + end_ma) / 2, max(start_ma, end_ma)
    if train.waveform == "direct":
        return mean * 1000.0 * seconds
    one_ma = train.pulse_width_us / 1000.0
    if train.waveform == "sine":
        one_ma = 1000.0 / 3.141592653589793 / train.frequency_hz
    return one_ma * (mean * train.frequency_hz * seconds + most)
