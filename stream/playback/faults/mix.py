"""``random:SEED``: a seeded mix of faults, the same on every machine."""

from __future__ import annotations

import dataclasses

import numpy as np

from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.playback.faults.spec import Fault, parse_fault

SLOT_S = 5.0
FIRST_S = 3.0
"""Nothing happens before; receivers judge a stream from its first seconds."""
_KINDS = ("cut", "gap", "duplicate", "reorder", "burst", "nan", "flat", "rail", "clock_step", "drift_ppm", "rate")


def random_mix(fault: Fault, info: StreamInfo, length_s: float) -> list[Fault]:
    """Return one fault in every five seconds of stream, drawn by NumPy's PCG64 with the fault's seed.

    Each begins in the first second of its slot and ends within two more, so no two overlap; ``cut``, ``gap`` and
    ``duplicate`` are up to 1.5 s, packets up to 0.2 s, clocks step by up to 5 s.

    Parameters
    ----------
    fault : Fault
        Of kind ``random``.
    info : StreamInfo
    length_s : float
    """
    draw = np.random.Generator(np.random.PCG64(fault.count))
    found: list[Fault] = []
    slot_s = FIRST_S
    while slot_s + 1.0 < length_s:
        kind = _KINDS[int(draw.integers(len(_KINDS)))]
        start_s = slot_s + float(draw.integers(1000)) / 1000.0
        lasts_s = 0.1 + float(draw.integers(1400)) / 1000.0
        n_samples = max(2, round(lasts_s * info.sfreq))
        column = int(draw.integers(info.n_channels))
        sign = "-" if draw.integers(2) else ""
        size = float(draw.integers(1, 5001)) / 1000.0
        found.append(_make(kind, start_s, lasts_s, n_samples, sign, size, info, column, fault.text))
        slot_s += SLOT_S
    return found


def _make(
    kind: str, start_s: float, lasts_s: float, n: int, sign: str, size: float, info: StreamInfo, column: int, text: str
) -> Fault:
    """Write the fault as a user would, and read it; its channel is put in by number, whatever it is called."""
    at, lasting = f"{kind}@{start_s:.3f}s", f"+{lasts_s:.3f}s"
    packet = max(2, min(n, round(0.02 * size * 2 * info.sfreq)))
    level = f"{sign}{1000.0 * size:g}"
    written = {
        "cut": f"{at}{lasting}",
        "gap": f"{at}:{n}",
        "duplicate": f"{at}:{n}",
        "reorder": f"{at}:{min(n, 20)}",
        "burst": f"{at}{lasting}:{packet}",
        "nan": f"{at}{lasting}",
        "flat": f"{at}{lasting}",
        "rail": f"{at}{lasting}:{level}",
        "clock_step": f"{at}:{sign}{size:g}s",
        "drift_ppm": f"{at}{lasting}:{sign}{100.0 * size:g}",
        "rate": f"{at}{lasting}:{info.sfreq * (1.0 - 0.05 * size):.6g}",
    }[kind]
    made = parse_fault(written)
    channels = (info.ch_names[column],) if kind in ("nan", "flat", "rail") else ()
    return dataclasses.replace(made, text=f"{text} {written}", channels=channels)
