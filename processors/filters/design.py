"""Filters and windows designed with our own elementary functions, so that every machine designs the same bits.

Butterworth filters follow the textbook route (analogue prototype, band transformation in a cancellation-free form,
bilinear map), section by section: a section is a conjugate pole pair with its own zeros and its own gain, so that no
product of gains ever over- or underflows. Sections run from the fastest to the slowest pole. Responses agree with
scipy.signal.butter and scipy.signal.iirnotch.

References
----------
.. [1] Parks and Burrus, Digital Filter Design, Wiley, 1987, chapter 7.
.. [2] Orfanidis, Introduction to Signal Processing, Prentice-Hall, 1996, section 11.3 (notch).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import (
    WHEN_PATTERN,
    BandpassDesign,
    FilterDesign,
    HighpassDesign,
    LowpassDesign,
    NotchDesign,
)
from neuroloop.processors.numerics.elementary import PI, cos, log, sin, tan
from neuroloop.stream.contracts.chunks import FloatArray

Section = tuple[float, float, float, float, float]
"""``b0, b1, b2, a1, a2`` of one second-order section, ``a0 = 1``."""

HARMONIC_LIMIT = 0.45
"""Notches at or above this fraction of the rate are left out: the bilinear map would squeeze them to nothing."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """What a list of designs becomes at one rate.

    Parameters
    ----------
    sos : array, shape (n_sections, 6), read-only
        As scipy.signal writes second-order sections.
    zi : array, shape (n_sections, 2), read-only
        Each section's own state after endless input of ones *to that section*.
    settle_samples : int
        Rows until the slowest pole of each design has decayed to 1 %, summed over the designs.
    delay_s : float
        Group delay in seconds, see `delay_frequency`.
    left_out : tuple of str
        What was not designed, and why.
    """

    sos: FloatArray
    zi: FloatArray
    settle_samples: int
    delay_s: float
    left_out: tuple[str, ...]


def _complex_sqrt(value: complex) -> complex:
    """Return the principal root with real square roots only."""
    size = math.sqrt(value.real * value.real + value.imag * value.imag)
    if value.real >= 0.0:
        real = math.sqrt(0.5 * (size + value.real))
        return complex(real, value.imag / (2.0 * real)) if real > 0.0 else 0j
    imag = math.sqrt(0.5 * (size - value.real))
    return complex(abs(value.imag) / (2.0 * imag), imag if value.imag >= 0.0 else -imag)


def _bilinear(s: complex) -> complex:
    """Map a pole of the analogue plane (rates as ``tan(pi f / sfreq)``) to the unit disc."""
    numerator, denominator = 1.0 + s, 1.0 - s
    size = denominator.real * denominator.real + denominator.imag * denominator.imag
    real = numerator.real * denominator.real + numerator.imag * denominator.imag
    imag = numerator.imag * denominator.real - numerator.real * denominator.imag
    return complex(real / size, imag / size)


def _prototype_poles(order: int) -> list[complex]:
    """Return the poles of the Butterworth prototype in the upper half plane, and -1 for an odd order."""
    poles = []
    for k in range(order // 2):
        angle = PI * (2 * k + 1) / (2 * order)
        poles.append(complex(-sin(angle), cos(angle)))
    if order % 2:
        poles.append(complex(-1.0, 0.0))
    return poles


def _pole_pair(z: complex) -> tuple[float, float]:
    """Return ``a1, a2`` of a pole and its conjugate."""
    return -2.0 * z.real, z.real * z.real + z.imag * z.imag


def _bandpass_poles(pole: complex, low: float, high: float) -> list[tuple[float, float]]:
    """Return ``a1, a2`` of the sections that one prototype pole becomes."""
    centre_squared = low * high
    half = pole * (0.5 * (high - low))
    if pole.imag == 0.0:
        discriminant = half.real * half.real - centre_squared
        if discriminant >= 0.0:
            first = half.real - math.sqrt(discriminant)
            second = centre_squared / first
            z1, z2 = (1.0 + first) / (1.0 - first), (1.0 + second) / (1.0 - second)
            return [(-(z1 + z2), z1 * z2)]
        return [_pole_pair(_bilinear(complex(half.real, math.sqrt(-discriminant))))]
    root = _complex_sqrt(
        complex(half.real * half.real - half.imag * half.imag - centre_squared, 2.0 * half.real * half.imag)
    )
    # the two poles multiply to the squared centre: the larger sum is exact, the other one follows without cancellation
    outer = half + root if half.real * root.real + half.imag * root.imag >= 0.0 else half - root
    scale = centre_squared / (outer.real * outer.real + outer.imag * outer.imag)
    inner = complex(outer.real * scale, -outer.imag * scale)
    return [_pole_pair(_bilinear(outer)), _pole_pair(_bilinear(inner))]


def _pole_radius(section: Section) -> float:
    """Return the largest magnitude of the section's poles."""
    a1, a2 = section[3], section[4]
    discriminant = a1 * a1 - 4.0 * a2
    if discriminant < 0.0:
        return math.sqrt(a2)
    return 0.5 * (abs(a1) + math.sqrt(discriminant))


def _size_at(section: Section, cosine: float, sine: float) -> float:
    """Return the magnitude of the response at an angle given by its cosine and sine."""
    b0, b1, b2, a1, a2 = section
    cosine2, sine2 = 2.0 * cosine * cosine - 1.0, 2.0 * sine * cosine
    up = (b0 + b1 * cosine + b2 * cosine2, b1 * sine + b2 * sine2)
    down = (1.0 + a1 * cosine + a2 * cosine2, a1 * sine + a2 * sine2)
    return math.sqrt((up[0] * up[0] + up[1] * up[1]) / (down[0] * down[0] + down[1] * down[1]))


def bandpass_sections(low_hz: float, high_hz: float, order: int, sfreq: float) -> list[Section]:
    """Design a Butterworth band-pass of ``order`` sections; each has unit gain at the (warped) centre."""
    low, high = tan(PI * low_hz / sfreq), tan(PI * high_hz / sfreq)
    centre_squared = low * high
    cosine = (1.0 - centre_squared) / (1.0 + centre_squared)
    sine = 2.0 * math.sqrt(centre_squared) / (1.0 + centre_squared)
    sections = []
    for pole in _prototype_poles(order):
        for a1, a2 in _bandpass_poles(pole, low, high):
            gain = 1.0 / _size_at((1.0, 0.0, -1.0, a1, a2), cosine, sine)
            sections.append((gain, 0.0, -gain, a1, a2))
    return sorted(sections, key=_pole_radius)


def lowpass_sections(freq_hz: float, order: int, sfreq: float) -> list[Section]:
    """Design a Butterworth low-pass; each section has unit gain at 0 Hz."""
    edge = tan(PI * freq_hz / sfreq)
    sections = []
    for pole in _prototype_poles(order):
        z = _bilinear(edge * pole)
        if pole.imag == 0.0:
            gain = 0.5 * (1.0 - z.real)
            sections.append((gain, gain, 0.0, -z.real, 0.0))
        else:
            a1, a2 = _pole_pair(z)
            gain = 0.25 * ((1.0 + a1) + a2)
            sections.append((gain, 2.0 * gain, gain, a1, a2))
    return sorted(sections, key=_pole_radius)


def highpass_sections(freq_hz: float, order: int, sfreq: float) -> list[Section]:
    """Design a Butterworth high-pass; each section has unit gain at the Nyquist rate."""
    edge = tan(PI * freq_hz / sfreq)
    sections = []
    for pole in _prototype_poles(order):
        z = _bilinear(complex(edge * pole.real, -edge * pole.imag))  # edge / pole: prototype poles lie on the circle
        if pole.imag == 0.0:
            gain = 0.5 * (1.0 + z.real)
            sections.append((gain, -gain, 0.0, -z.real, 0.0))
        else:
            a1, a2 = _pole_pair(z)
            gain = 0.25 * ((1.0 - a1) + a2)
            sections.append((gain, -2.0 * gain, gain, a1, a2))
    return sorted(sections, key=_pole_radius)


def notch_section(freq_hz: float, q: float, sfreq: float) -> Section:
    """Design a second-order notch; -3 dB bandwidth ``freq_hz / q``."""
    gain = 1.0 / (1.0 + tan(PI * freq_hz / (q * sfreq)))
    middle = -2.0 * gain * cos(2.0 * PI * freq_hz / sfreq)
    return (gain, middle, gain, middle, 2.0 * gain - 1.0)


def periodic_hann(n_samples: int) -> FloatArray:
    """Return the periodic Hann window, as ``scipy.signal.get_window("hann", n)``; read-only."""
    if n_samples == 1:
        window = np.ones(1)
    else:
        window = np.array([0.5 - 0.5 * cos(2.0 * PI * i / n_samples) for i in range(n_samples)])
    window.flags.writeable = False
    return window


def settle_samples(sections: Sequence[Section]) -> int:
    """Return the rows in which the slowest pole decays to 1 %."""
    radius = max(_pole_radius(section) for section in sections)
    if radius < 0.01:
        return 1
    return math.ceil(log(0.01) / log(radius))


def group_delay_samples(sections: Sequence[Section], freq_hz: float, sfreq: float) -> float:
    """Return the group delay of a cascade at one frequency, in samples.

    All our numerators are symmetric or antisymmetric, so each delays by half its length at every frequency; the
    denominators are differentiated in closed form.
    """
    cosine, sine = cos(2.0 * PI * freq_hz / sfreq), sin(2.0 * PI * freq_hz / sfreq)
    cosine2, sine2 = 2.0 * cosine * cosine - 1.0, 2.0 * sine * cosine
    delay = 0.0
    for _, _, b2, a1, a2 in sections:
        real, imag = 1.0 + a1 * cosine + a2 * cosine2, -(a1 * sine + a2 * sine2)
        slope_real, slope_imag = a1 * cosine + 2.0 * a2 * cosine2, -(a1 * sine + 2.0 * a2 * sine2)
        own = (slope_real * real + slope_imag * imag) / (real * real + imag * imag)
        delay += (0.5 if b2 == 0.0 else 1.0) - own
    return delay


def delay_frequency(designs: Sequence[FilterDesign], sfreq: float) -> float:
    """Return the frequency in Hz at which a cascade's delay is stated.

    The geometric centre of what all high- and band-pass edges leave; with a low-pass alone half its edge, with a
    high-pass alone the geometric centre of its edge and the Nyquist rate, with notches alone half the lowest one.
    """
    lows = [
        d.low_hz if isinstance(d, BandpassDesign) else d.freq_hz for d in designs if d.kind in ("bandpass", "highpass")
    ]
    highs = [
        d.high_hz if isinstance(d, BandpassDesign) else d.freq_hz for d in designs if d.kind in ("bandpass", "lowpass")
    ]
    notches = [d.freq_hz for d in designs if isinstance(d, NotchDesign)]
    if lows:
        return math.sqrt(max(lows) * (min(highs) if highs else 0.5 * sfreq))
    if highs:
        return 0.5 * min(highs)
    return 0.5 * min(notches, default=0.0)


def _upper_edge(design: FilterDesign) -> tuple[str, float]:
    """Return the name and value of the field that must stay below the Nyquist rate; also the ``f0`` of ``when``."""
    if isinstance(design, BandpassDesign):
        return "high_hz", design.high_hz
    return "freq_hz", design.freq_hz


def _title(design: FilterDesign) -> str:
    """Name a design for reports."""
    if isinstance(design, BandpassDesign):
        return f"bandpass {design.low_hz:g}-{design.high_hz:g} Hz"
    return f"{design.kind} {design.freq_hz:g} Hz"


def rate_allows(when: str | None, sfreq: float, f0: float, path: str) -> bool:
    """Evaluate a ``when`` expression such as ``sfreq > 2.2 * f0``.

    Raises
    ------
    ConfigError
        If the expression is none of that form.
    """
    if when is None:
        return True
    match = re.match(WHEN_PATTERN, when)
    try:
        if match is None:
            raise ValueError
        operator, number, factor = match.group(1), float(match.group(2)), match.group(4)
        limit = number * (1.0 if factor is None else f0 if factor == "f0" else float(factor))
    except ValueError:
        raise ConfigError(f"{path}.when must be like 'sfreq > 2.2 * f0', got {when!r}") from None
    return {"<": sfreq < limit, "<=": sfreq <= limit, ">": sfreq > limit, ">=": sfreq >= limit}[operator]


def _sections_of(design: FilterDesign, sfreq: float, path: str, left_out: list[str]) -> list[Section]:
    """Design one entry and check that it can work at this rate."""
    field, edge = _upper_edge(design)
    if isinstance(design, NotchDesign):
        sections = []
        for n in range(1, design.harmonics + 1):
            freq_hz = n * design.freq_hz
            if freq_hz >= HARMONIC_LIMIT * sfreq:
                left_out.append(f"notch {freq_hz:g} Hz: sfreq={sfreq:g} fails {freq_hz:g} < {HARMONIC_LIMIT} * sfreq")
            elif freq_hz / design.q >= 0.5 * sfreq:
                raise ConfigError(
                    f"{path}.q must be above {2.0 * freq_hz / sfreq:g} (twice freq_hz/sfreq), got {design.q!r}"
                )
            else:
                sections.append(notch_section(freq_hz, design.q, sfreq))
        field = "q"
    elif edge >= 0.5 * sfreq:
        raise ConfigError(f"{path}.{field} must be below sfreq/2={0.5 * sfreq!r}, got {edge!r}")
    elif isinstance(design, BandpassDesign):
        sections = bandpass_sections(design.low_hz, design.high_hz, design.order, sfreq)
        field = "low_hz"
    elif isinstance(design, LowpassDesign):
        sections = lowpass_sections(design.freq_hz, design.order, sfreq)
    else:
        sections = highpass_sections(design.freq_hz, design.order, sfreq)
    if any(not _pole_radius(section) < 1.0 - 1e-9 for section in sections):
        value = getattr(design, field)
        raise ConfigError(f"{path}.{field} must be such that the filter is stable in float64, got {value!r}")
    return sections


def design_cascade(designs: Sequence[FilterDesign], sfreq: float) -> Cascade:
    """Design all entries at one rate.

    Parameters
    ----------
    designs : sequence of design settings
    sfreq : float
        In Hz.

    Raises
    ------
    ConfigError
        If a band edge reaches the Nyquist rate, a ``when`` cannot be read or a filter would not be stable; one line
        per fault, each begins with the path of the field, such as ``designs.0.high_hz``.
    """
    if not sfreq > 0.0:
        raise ConfigError(f"sfreq must be above 0 for a filter, got {sfreq!r}")
    sections: list[Section] = []
    kept: list[NotchDesign | BandpassDesign | HighpassDesign | LowpassDesign] = []
    left_out: list[str] = []
    faults: list[str] = []
    settle = 0
    for i, design in enumerate(designs):
        path = f"designs.{i}"
        own: list[Section] = []
        try:
            if rate_allows(design.when, sfreq, _upper_edge(design)[1], path):
                own = _sections_of(design, sfreq, path, left_out)
            else:
                left_out.append(f"{_title(design)}: sfreq={sfreq:g} fails {str(design.when).strip()}")
        except ConfigError as error:
            faults.extend(error.faults)
        if own:
            kept.append(design)
            sections.extend(own)
            settle += settle_samples(own)
    if faults:
        raise ConfigError(*faults)
    delay = group_delay_samples(sections, delay_frequency(kept, sfreq), sfreq) / sfreq
    sos = np.array([(b0, b1, b2, 1.0, a1, a2) for b0, b1, b2, a1, a2 in sections]).reshape(-1, 6)
    zi = np.array([_unit_state(section) for section in sections]).reshape(-1, 2)
    sos.flags.writeable = zi.flags.writeable = False
    return Cascade(sos, zi, settle, round(delay, 9), tuple(left_out))


def _unit_state(section: Section) -> tuple[float, float]:
    """Return the transposed direct form's state after endless ones."""
    b0, b1, b2, a1, a2 = section
    gain = ((b0 + b1) + b2) / ((1.0 + a1) + a2)
    return gain - b0, b2 - a2 * gain
