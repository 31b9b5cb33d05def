"""What a fault is and how it is written: ``KIND@START[+DURATION][:VALUE]``.

==============================  ========================================================================================
``cut@5s+2s``                   the sender is silent for 2 s; the samples of that time are never sent
``reconnect@5s+2s``             as ``cut``, and the outlet is destroyed and made again with the same ``source_id``
``gap@5s:25``                   25 samples are missing, stamps go on
``duplicate@6s:50``             50 samples are sent, then sent again
``reorder@7s:10``               10 samples are sent in reverse order
``burst@3s+4s:32``              samples come in packets of 32, stamped at the packet's arrival, 20 us apart
``clock_step@8s:-3.5s``         the sender's clock is set back by 3.5 s
``drift_ppm@0s:200``            the sender's clock runs fast by 200 ppm (for the duration, or to the end)
``rate@3s+10s:186``             the true rate is 186 Hz
``nan@4s+0.5s:C3,C4``           the channels (all, if none is named) are not numbers
``flat@4s+0.5s:C3``             the channels hold their value of the fault's first sample
``rail@4s+0.5s:C3=187500``      the channels are at a value; ``187500`` alone means all channels
``random:SEED``                 a seeded mix over the whole stream (the first minute of an endless one)
==============================  ========================================================================================

Times are seconds of stream since the first sample (``5``, ``5s``, ``250ms``) and become sample numbers by ``round``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, cast

from neuroloop.config.errors import ConfigError

Kind = Literal[
    "cut",
    "reconnect",
    "gap",
    "duplicate",
    "reorder",
    "burst",
    "clock_step",
    "drift_ppm",
    "rate",
    "nan",
    "flat",
    "rail",
    "random",
]
SENDING: Final = frozenset({"cut", "reconnect", "gap", "duplicate", "reorder", "burst"})
"""Kinds that change which samples are sent when; two of them must not overlap."""
SILENT: Final = frozenset({"cut", "reconnect", "gap"})
"""Kinds whose samples are never sent."""
STAMPING: Final = frozenset({"burst", "clock_step", "drift_ppm", "rate"})
"""Kinds that change stamps."""
ALTERING: Final = frozenset({"nan", "flat", "rail"})
"""Kinds that change values."""

_COUNTED = frozenset({"gap", "duplicate", "reorder"})
_DURATION = {
    "cut": "needed", "reconnect": "needed", "gap": "none", "duplicate": "none", "reorder": "none",
    "burst": "needed", "clock_step": "none", "drift_ppm": "optional", "rate": "optional",
    "nan": "needed", "flat": "needed", "rail": "needed",
}  # fmt: skip
_MOST = 10**9
_TIME = r"\d+(?:\.\d*)?(?:ms|s)?"
_FORM = re.compile(rf"(?P<kind>[a-z_]+)@(?P<start>{_TIME})(?:\+(?P<duration>{_TIME}))?(?::(?P<value>.*))?", re.DOTALL)
_RANDOM = re.compile(r"random:(?P<seed>\d{1,18})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Parameters
    ----------
    kind : str
        One of `Kind`.
    text : str
        As it was written.
    start_s : float
        Since the stream's first sample.
    duration_s : float, optional
        None where the fault has none (``count``, ``value``) or lasts to the end.
    count : int
        Samples of ``gap``, ``duplicate`` and ``reorder``, packet size of ``burst``, seed of ``random``.
    value : float
        Seconds of ``clock_step``, ppm of ``drift_ppm``, Hz of ``rate``.
    channels : tuple of str
        Of ``nan``, ``flat`` and ``rail``; empty: all.
    levels : tuple of float
        Of ``rail``: one per channel, or one for all.
    """

    kind: Kind
    text: str
    start_s: float = 0.0
    duration_s: float | None = None
    count: int = 0
    value: float = 0.0
    channels: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()


def parse_faults(texts: Sequence[str]) -> tuple[Fault, ...]:
    """Read fault specifications, each of which may hold several, separated by ``;``.

    Raises
    ------
    ConfigError
        At the first that is wrong, in one line.
    """
    return tuple(parse_fault(part.strip()) for text in texts for part in text.split(";") if part.strip())


def parse_fault(text: str) -> Fault:
    """Read one fault.

    Raises
    ------
    ConfigError
        If it is not of the form, its kind is unknown, or it lacks or has too much of something.
    """
    seed = _RANDOM.fullmatch(text)
    if seed is not None:
        return Fault("random", text, count=int(seed["seed"]))
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(f"fault must be KIND@START[+DURATION][:VALUE], got {text!r}")
    if match["kind"] not in _DURATION:
        kinds = ", ".join((*_DURATION, "random"))
        raise ConfigError(f"fault must be of a known kind ({kinds}), got {text!r}")
    kind = cast(Kind, match["kind"])
    rule = _DURATION[kind]
    if (match["duration"] is None) == (rule == "needed") and rule != "optional":
        says = "have a duration (+SECONDS)" if rule == "needed" else "have no duration"
        raise ConfigError(f"fault {kind} must {says}, got {text!r}")
    duration_s = None if match["duration"] is None else _seconds(match["duration"], text)
    if duration_s is not None and not duration_s > 0:
        raise ConfigError(f"fault {kind} must last longer than 0 s, got {text!r}")
    start_s = _seconds(match["start"], text)
    value = match["value"]
    if kind in _COUNTED or kind == "burst":
        least = 1 if kind in ("gap", "duplicate") else 2
        return Fault(kind, text, start_s, duration_s, count=_count(kind, value, least, text))
    if kind in ("clock_step", "drift_ppm", "rate"):
        return Fault(kind, text, start_s, duration_s, value=_number(kind, value, text))
    if kind == "rail":
        channels, levels = _levels(value, text)
        return Fault(kind, text, start_s, duration_s, channels=channels, levels=levels)
    if kind in ("cut", "reconnect"):
        if value is not None:
            raise ConfigError(f"fault {kind} must have no value, got {text!r}")
        return Fault(kind, text, start_s, duration_s)
    return Fault(kind, text, start_s, duration_s, channels=_channels(kind, value, text))


def _seconds(text: str, whole: str) -> float:
    seconds = float(text[:-2]) / 1000.0 if text.endswith("ms") else float(text.removesuffix("s"))
    if not seconds < _MOST:
        raise ConfigError(f"fault must be within {_MOST} s of the first sample, got {whole!r}")
    return seconds


def _count(kind: str, value: str | None, least: int, text: str) -> int:
    number = int(value) if value is not None and re.fullmatch(r"\d{1,10}", value) else 0
    if not least <= number <= _MOST:
        raise ConfigError(f"fault {kind} must have a number of samples of at least {least} as its value, got {text!r}")
    return number


def _number(kind: str, value: str | None, text: str) -> float:
    unit = {"clock_step": "s", "drift_ppm": "ppm", "rate": "Hz"}[kind]
    try:
        number = float((value or "").removesuffix(unit))
    except ValueError:
        number = math.nan
    good = {
        "clock_step": number != 0 and abs(number) < _MOST,
        "drift_ppm": abs(number) <= 100_000,
        "rate": 0 < number < _MOST,
    }[kind]
    if not (math.isfinite(number) and good):
        rules = {
            "clock_step": "seconds other than 0",
            "drift_ppm": "ppm in [-100000, 100000]",
            "rate": "a rate above 0 Hz",
        }
        raise ConfigError(f"fault {kind} must have {rules[kind]} as its value, got {text!r}")
    return number


def _channels(kind: str, value: str | None, text: str) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(name.strip() for name in value.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise ConfigError(f"fault {kind} must name different channels, separated by commas, got {text!r}")
    return names


def _levels(value: str | None, text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    pairs = [part.rpartition("=") for part in (value or "").split(",")]
    names = tuple(name.strip() for name, _, _ in pairs)
    if len(pairs) == 1 and not pairs[0][1]:
        names = ()
    elif not all(names) or len(set(names)) != len(names):
        _bad_levels(text)
    try:
        levels = tuple(float(level) for _, _, level in pairs)
    except ValueError:
        _bad_levels(text)
    if not all(map(math.isfinite, levels)):
        _bad_levels(text)
    return names, levels


def _bad_levels(text: str) -> NoReturn:
    raise ConfigError(f"fault rail must have CHANNEL=LEVEL,... or LEVEL as its value, got {text!r}")
