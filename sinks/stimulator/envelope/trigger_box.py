"""What a trigger box can give: the trains it is set up for, on or off; everything else is refused, not approximated."""

from __future__ import annotations

from collections.abc import Sequence

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings, trigger_box_faults
from neuroloop.sinks.stimulator.envelope.charge import exact
from neuroloop.sinks.stimulator.envelope.envelope import SHORTEST_RAMP_S
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits


def refuse_what_no_box_can(
    settings: StimulationSettings, rows: Sequence[RecommendationSettings], limits: ProfileLimits
) -> None:
    """Refuse a configuration that needs more of a device of kind ``serial`` than it can do.

    The slew limit makes a ramp of every amplitude, ``amplitude_ma / max_slew_ma_s`` long. Where the box ramps by itself
    (``device.ramps_itself``), its ramp is judged as that of any device. Otherwise it takes the amplitude in one step,
    which is within the limit only where the ramp is too short to be made (`SHORTEST_RAMP_S`).

    Parameters
    ----------
    settings : StimulationSettings
        Those of other devices pass.
    rows : sequence of RecommendationSettings
    limits : ProfileLimits
        Of the session.

    Raises
    ------
    ConfigError
        With one line for everything that it cannot do.
    """
    if settings.device.kind != "serial":
        return
    faults = trigger_box_faults(settings, rows)
    if settings.device.ramps_itself:
        if faults:
            raise ConfigError(*(f"stimulation.{fault}" for fault in faults))
        return
    slew = limits.max_slew_ma_s
    for index, row in enumerate(rows):
        if exact(row.amplitude_ma) >= exact(slew) * exact(SHORTEST_RAMP_S):
            rule = f"below {slew * SHORTEST_RAMP_S:g} for device.kind 'serial', one step within max_slew_ma_s={slew:g}"
            faults.append(f"table.{index}.amplitude_ma must be {rule}, got {row.amplitude_ma!r}")
    if limits.min_ramp_s > 0:
        where = f"profile {settings.profile!r}, {settings.route}"
        faults.append(f"device.kind must be one that ramps, min_ramp_s={limits.min_ramp_s:g} ({where}), got 'serial'")
    if faults:
        raise ConfigError(*(f"stimulation.{fault}" for fault in faults))
