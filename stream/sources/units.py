"""Physical units: from the spellings that senders and files use to one symbol each."""

from __future__ import annotations

import re
from dataclasses import replace

from neuroloop.stream.contracts.chunks import StreamInfo

_PREFIX_WORDS = {"nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M", "pico": "p"}
_SCALED_WORDS = {"volt": "V", "ohm": "Ohm", "siemens": "S", "tesla": "T", "second": "s", "hertz": "Hz", "ampere": "A"}
_WORDS = {
    "v": "V",
    "volt": "V",
    "volts": "V",
    "mv": "mV",
    "uv": "uV",
    "nv": "nV",
    "uvolt": "uV",
    "uvolts": "uV",
    "mvolt": "mV",
    "mvolts": "mV",
    "10^-6 v": "uV",
    "1e-6 v": "uV",
    # A bare power of ten is a convention for volts; 0 is left alone because it also stands for "none".
    "-3": "mV",
    "-6": "uV",
    "-9": "nV",
    "c": "degC",
    "degc": "degC",
    "deg c": "degC",
    "deg. c": "degC",
    "celsius": "degC",
    "degree celsius": "degC",
    "degrees celsius": "degC",
    "f": "degF",
    "degf": "degF",
    "bpm": "bpm",
    "beats/min": "bpm",
    "beats per minute": "bpm",
    "mmhg": "mmHg",
    "ohm": "Ohm",
    "ohms": "Ohm",
    "kohm": "kOhm",
    "kohms": "kOhm",
    "us": "us",
    "usiemens": "uS",
    "s": "s",
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "ms": "ms",
    "hz": "Hz",
    "percent": "%",
    "m/s2": "m/s^2",
    "m/s^2": "m/s^2",
    "m/s**2": "m/s^2",
}
_EXACT = {"MV": "MV", "F": "F", "C": "degC", "uS": "uS", "S": "S", "mS": "mS"}
_NOTHING = frozenset(
    {"", "-", "--", "?", "1", "n/a", "na", "nan", "none", "null", "unknown", "unitless", "dimensionless"}
)


def normal_unit(text: str | None) -> str:
    """Return the symbol of a unit: ``uV``, ``mV``, ``V``, ``degC``, ``bpm``, ...

    Parameters
    ----------
    text : str or None
        As the sender or the file writes it: ``microvolts``, ``µV``, ``Volts``, ``[uV]``, ``DegC``.

    Returns
    -------
    str
        The symbol, an empty string where the text says that there is none, or the text itself, stripped, where it is
        not known.
    """
    if text is None:
        return ""
    plain = text.replace("\x00", " ").strip()
    if len(plain) >= 2 and plain[0] + plain[-1] in ("[]", "()"):
        plain = plain[1:-1].strip()
    kept = plain
    # The micro sign, the Greek letter, and the micro sign of a UTF-8 text that was read as Latin-1.
    plain = plain.replace("\u00c2\u00b5", "u").replace("\u00b5", "u").replace("\u03bc", "u")
    plain = plain.replace("\u2126", "Ohm").replace("\u03a9", "Ohm").replace("\u00b2", "2")
    plain = plain.replace("\u00c2\u00b0", "deg").replace("\u00b0", "deg")
    if plain in _EXACT:
        return _EXACT[plain]
    low = re.sub(r"\s+", " ", plain.replace("_", " ")).lower()
    if low in _NOTHING:
        return ""
    if low in _WORDS:
        return _WORDS[low]
    joined = low.replace(" ", "").replace("-", "")
    for prefix, symbol in _PREFIX_WORDS.items():
        for word, unit in _SCALED_WORDS.items():
            if joined in (prefix + word, prefix + word + "s"):
                return symbol + unit
    return kept


def assume_unit(info: StreamInfo, unit: str | None) -> StreamInfo:
    """Return the description with ``unit`` for the channels that have none.

    Parameters
    ----------
    info : StreamInfo
    unit : str or None
        In any spelling that `normal_unit` knows; None changes nothing.
    """
    if unit is None or all(info.ch_units):
        return info
    return replace(info, ch_units=tuple(one or normal_unit(unit) for one in info.ch_units))
