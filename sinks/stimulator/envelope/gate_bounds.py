"""Whether the gate's own settings are within the hard limits: a protection that can be set to anything is none."""

from __future__ import annotations

from neuroloop.config.stimulation import GateSettings
from neuroloop.sinks.stimulator.envelope.profiles import GateLeast, GateLimits, GateMost, ProfileLimits

_OF_A_ROW = "min_confidence"
"""Judged with each row of the table, wherever that stands."""


def gate_faults(gate: GateSettings, bounds: GateLimits, limits: ProfileLimits) -> list[str]:
    """Return what is looser than the hard limits, one line each.

    Parameters
    ----------
    gate : GateSettings
    bounds : GateLimits
        Of the file.
    limits : ProfileLimits
        Of the profile and route.
    """
    faults = []
    for key in GateMost.model_fields:
        value, most = getattr(gate, key), getattr(bounds.at_most, key)
        if value > most:
            faults.append(f"stimulation.gate.{key} must be at most {most:g}, got {value!r}")
    least_of = {key: getattr(bounds.at_least, key) for key in GateLeast.model_fields if key != _OF_A_ROW}
    for key, least in {**least_of, "lockout_s": limits.min_lockout_s}.items():
        value = getattr(gate, key)
        if value < least:
            faults.append(f"stimulation.gate.{key} must be at least {least:g}, got {value!r}")
    return faults
