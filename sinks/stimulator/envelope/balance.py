"""How well the phases of a device match: what it says, what its maker's sheet says, or what must be assumed."""

from __future__ import annotations

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.records import Capabilities

SIMULATED_IMBALANCE = 0.001
"""Of the simulated stimulator, which has no current: that of a good device."""


def imbalance_of(settings: StimulationSettings, capabilities: Capabilities | None, default: float) -> float:
    """Return the share of a phase's charge that the other phase leaves; the largest that anybody says.

    Parameters
    ----------
    settings : StimulationSettings
        With ``device.imbalance``.
    capabilities : Capabilities or None
        None before the device was opened.
    default : float
        Of the hard limits, for a device of which nobody says anything.
    """
    said = [settings.device.imbalance, None if capabilities is None else capabilities.imbalance]
    if capabilities is None and settings.device.kind == "simulated":
        said.append(SIMULATED_IMBALANCE)
    return max((one for one in said if one is not None), default=default)
