"""Whether amplitudes fit the units that a stream claims, and which unit they look like if not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_VOLTS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
_TEMPERATURES = ("degC", "K", "degF")


class _Range(NamedTuple):
    """Plausible median of the standard deviation over one second, in microvolts."""

    low: float
    high: float


_ELECTRICAL = {
    "EEG": _Range(0.1, 1000.0),
    "EOG": _Range(0.1, 3000.0),
    "iEEG": _Range(0.1, 5000.0),
    "SEEG": _Range(0.1, 5000.0),
    "ECoG": _Range(0.1, 5000.0),
    "LFP": _Range(0.1, 5000.0),
    "DBS": _Range(0.1, 5000.0),
    "EMG": _Range(0.1, 10000.0),
    "ECG": _Range(1.0, 10000.0),
    "PPG": _Range(1.0, 5e6),
}
"""Wide on purpose: a raw signal carries mains noise and movement, a clean one little; units differ by 1000."""
_SHARE_OF_FLAT = 0.5
_MIN_SFREQ = 20.0
"""A slower stream carries an envelope of the signal, not the signal."""


def is_electrical(kind: str) -> bool:
    """Say whether a channel type is a potential that a converter's range may cut off."""
    return kind in _ELECTRICAL and kind != "PPG"


def unit_warnings(channels: Sequence[Mapping[str, Any]], sfreq: float) -> list[str]:
    """Return a sentence for every group of channels whose amplitudes do not fit their type and unit.

    Parameters
    ----------
    channels : sequence of mapping
        With ``name``, ``type``, ``unit``, ``mean``, ``std_1s`` and ``flat_share``, as `QualityMeter.report` gives them.
    sfreq : float
        In Hz; electrical signals are judged from 20 Hz on, slower ones are envelopes.

    Notes
    -----
    Channels that are flat most of the time say nothing about their unit. A PPG without a unit of volts may have any
    amplitude. A temperature is judged by its mean: 10 to 45 degC, 283 to 318 K, 50 to 113 degF, the air of a room
    and bodies; other temperatures, of a machine for instance, have another type.
    """
    groups: dict[str, list[str]] = {}
    for channel in channels:
        verdict = _judge(channel, sfreq)
        if verdict is not None:
            groups.setdefault(verdict, []).append(channel["name"])
    return [f"channels {', '.join(names)}: {verdict}" for verdict, names in groups.items()]


def _judge(channel: Mapping[str, Any], sfreq: float) -> str | None:
    """Return what is wrong with one channel."""
    kind, unit, std = channel["type"], channel["unit"], channel["std_1s"]
    if std is None or (channel["flat_share"] or 0.0) >= _SHARE_OF_FLAT:
        return None
    if kind == "TEMP":
        return _judge_temperature(unit, channel["mean"])
    allowed = _ELECTRICAL.get(kind)
    if allowed is None or sfreq < _MIN_SFREQ or (kind == "PPG" and unit not in _VOLTS) or (unit and unit not in _VOLTS):
        return None
    if unit and allowed.low <= std * _VOLTS[unit] <= allowed.high:
        return None
    fitting = [name for name, scale in _VOLTS.items() if allowed.low <= std * scale <= allowed.high]
    guess = _nearest([name for name in fitting if name != "nV"] or fitting, std, allowed)
    if not unit:
        return None if guess is None else f"no unit is given, the amplitude looks like {guess}"
    size = f"{_magnitude(std * _VOLTS[unit])} uV"
    said = f"{kind} in {unit} should have a standard deviation of {allowed.low:g} to {allowed.high:g} uV, got {size}"
    return said if guess is None else f"{said}; it looks like {guess}"


def _nearest(units: Sequence[str], std: float, allowed: _Range) -> str | None:
    """Return the unit in which the value lies deepest inside the range; uV where several do equally well."""
    best, depth = None, 0.0
    for unit in sorted(units, key=lambda name: name != "uV"):
        value = std * _VOLTS[unit]
        margin = min(value / allowed.low, allowed.high / value)
        if margin > depth:
            best, depth = unit, margin
    return best


def _magnitude(value: float) -> str:
    """Write a value by its power of ten: the channels of a group differ in the rest."""
    power = 0
    while value >= 10.0:
        value, power = value / 10.0, power + 1
    while 0 < value < 1.0:
        value, power = value * 10.0, power - 1
    return f"about 1e{power:+d}" if value > 0 else "0"


def _judge_temperature(unit: str, mean: float | None) -> str | None:
    """Return what is wrong with a temperature."""
    ranges = {"degC": (10.0, 45.0), "K": (283.0, 318.0), "degF": (50.0, 113.0)}
    if mean is None or unit not in ranges:
        return None
    low, high = ranges[unit]
    if low <= mean <= high:
        return None
    guess = next((name for name in _TEMPERATURES if ranges[name][0] <= mean <= ranges[name][1]), None)
    said = f"temperature in {unit} should be between {low:g} and {high:g}"
    return said if guess is None else f"{said}; it looks like {guess}"
