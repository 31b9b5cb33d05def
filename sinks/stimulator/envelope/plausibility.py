"""Whether what is said of an electrode can be true: its area and impedance beside those of the profile and route."""

from __future__ import annotations

from neuroloop.config.stimulation import UNNAMED, StimulationSettings
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits

_MM2_PER_CM2 = 100.0


def plausibility_faults(settings: StimulationSettings, limits: ProfileLimits) -> list[str]:
    """Return what no electrode of this profile and route has, and what must be said of one, one line each.

    Parameters
    ----------
    settings : StimulationSettings
    limits : ProfileLimits
        The hard ones; no session can widen these ranges.

    Notes
    -----
    An area in the wrong unit is 100 times too large or too small, and moves every limit per area by as much.
    """
    where, faults = f"for profile {settings.profile!r} and route {settings.route!r}", []
    area = settings.electrode_area_cm2
    least, most = limits.min_area_cm2, limits.max_area_cm2
    if not least <= area <= most:
        rule = f"from {least:g} to {most:g} cm2 ({least * _MM2_PER_CM2:g} to {most * _MM2_PER_CM2:g} mm2)"
        got = f"{area:g} cm2, which are {area * _MM2_PER_CM2:g} mm2"
        if least <= area / _MM2_PER_CM2 <= most:
            got += f": is it {area:g} mm2, {area / _MM2_PER_CM2:g} cm2?"
        faults.append(f"stimulation.electrode_area_cm2 must be {rule} {where}, got {got}")
    load, low, high = settings.impedance_ohm, limits.min_impedance_ohm, limits.max_impedance_ohm
    if not low <= load <= high:
        faults.append(f"stimulation.impedance_ohm must be from {low:g} to {high:g} {where}, got {load!r}")
    return faults + _left_open(settings)


def _left_open(settings: StimulationSettings) -> list[str]:
    """Return what must be said before anything but a simulated device stimulates.

    Not asked for where a configuration is only read: runs that were recorded before can still be exported.
    """
    if settings.device.kind == "simulated":
        return []
    device, faults = f"for a device of kind {settings.device.kind!r}", []
    if settings.electrode_shape is None and settings.route == "implanted":
        rule = f"given {device} and an implanted contact: its area is reckoned from it"
        faults.append(f"stimulation.electrode_shape must be {rule}, got nothing")
    for key in ("subject", "electrode"):
        if getattr(settings, key) == UNNAMED:
            rule = f"named {device}: charge is counted by name"
            faults.append(f"stimulation.{key} must be {rule}, got {UNNAMED!r}")
    return faults
