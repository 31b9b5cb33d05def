"""Commands and refusals as markers: one JSON object each, short, for whoever looks at a recording without this program.

======================  ==============================================================================
``ev``                  one of `EVENTS`
``id``                  of the event in ``events.jsonl``
``ch``                  the electrode
``mA, us, hz, uC, k``   amplitude, width of one phase, frequency, charge of one phase, Shannon's k
``wave``                wave form
``what``                of a refusal: ``start``, or what the operator asked for
``state``               whose dose it is
``rules``, ``why``      by which rules a request was refused; the reason in words, with its numbers
======================  ==============================================================================

Keys without a value are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

EVENTS = {"start": "stim_start", "stop": "stim_stop", "arm": "arm", "disarm": "disarm"}
"""Of commands, by their action; a refusal is ``refuse``."""
_KEYS = {
    "mA": "amplitude_ma",
    "us": "pulse_width_us",
    "hz": "frequency_hz",
    "uC": "charge_per_phase_uc",
    "k": "shannon_k",
    "wave": "waveform",
    "state": "state",
    "why": "reason",
}


def marker_of(record: Mapping[str, Any], electrode: str) -> str | None:
    """Return the marker of a line of events; nothing for what is neither command nor refusal.

    Parameters
    ----------
    record : mapping
        A parsed line.
    electrode : str
    """
    kind = record.get("type")
    name = "refuse" if kind == "refusal" else EVENTS.get(str(record.get("action"))) if kind == "command" else None
    if name is None:
        return None
    marker: dict[str, Any] = {"ev": name, "id": record.get("id"), "ch": electrode}
    for short, key in _KEYS.items():
        value = record.get(key)
        if value is not None and value != "" and not (isinstance(value, float) and not math.isfinite(value)):
            marker[short] = value
    if kind == "refusal":
        marker["what"] = record.get("what")
        marker["rules"] = [one["rule"] for one in record.get("rules", ())]
    return json.dumps(marker, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
