"""The limits of a session: the hard ones, tightened by the configuration and never loosened."""

from __future__ import annotations

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import LimitSettings, StimulationSettings
from neuroloop.sinks.stimulator.envelope.gate_bounds import gate_faults
from neuroloop.sinks.stimulator.envelope.plausibility import plausibility_faults
from neuroloop.sinks.stimulator.envelope.profiles import HardLimits, ProfileLimits


def session_limits(settings: StimulationSettings, hard: HardLimits) -> ProfileLimits:
    """Return what holds in this session.

    Parameters
    ----------
    settings : StimulationSettings
    hard : HardLimits

    Returns
    -------
    ProfileLimits
        The hard limits of the profile and route with the session's tighter ones in their place. For an implanted
        electrode ``max_shannon_k`` is the file's default (1.5 in the shipped one) where the session has none. Contacts
        below the area of micro-electrodes have the lower charge per phase.

    Raises
    ------
    ConfigError
        With one line for every limit and setting of the gate that is looser than the hard one, and for an area or
        impedance that no electrode of the profile and route has, or if the hard ones are for other devices.
    """
    if hard.devices is not None and settings.device.kind not in hard.devices:
        rule = f"one of those that the hard limits are for ({', '.join(hard.devices)})"
        raise ConfigError(f"stimulation.device.kind must be {rule}, got {settings.device.kind!r}")
    base = hard.of(settings.profile, settings.route)
    held = base.model_dump()
    small = hard.microelectrode
    if settings.route == "implanted" and settings.electrode_area_cm2 < small.below_area_cm2:
        held["max_charge_per_phase_uc"] = min(
            small.max_charge_per_phase_uc, held["max_charge_per_phase_uc"] or small.max_charge_per_phase_uc
        )
    held["min_confidence"] = max(base.min_confidence, hard.gate.at_least.min_confidence)
    held["default_imbalance"] = hard.charge_balance.default_imbalance
    faults = plausibility_faults(settings, base) + gate_faults(settings.gate, hard.gate, base)
    for key in LimitSettings.model_fields:
        wanted, firm = getattr(settings.limits, key), held[key]
        if wanted is None:
            continue
        is_least = key.startswith("min_")
        if firm is not None and (wanted < firm if is_least else wanted > firm):
            rule = f"at {'least' if is_least else 'most'} {firm:g}"
            faults.append(f"stimulation.limits.{key} must be {rule}, got {wanted!r}")
        held[key] = wanted
    if settings.limits.max_shannon_k is None and held["max_shannon_k"] is not None:
        held["max_shannon_k"] = min(held["max_shannon_k"], hard.shannon.default_k)
    if faults:
        raise ConfigError(*faults)
    return ProfileLimits.model_validate(held)
