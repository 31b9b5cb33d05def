"""What an operator has to read, and say again, before a run is armed: electrode, area in both units, limits."""

from __future__ import annotations

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.envelope.profiles import hard_limits_path


def needs_area(settings: StimulationSettings) -> bool:
    """Return whether the area has to be typed again at arming: for every device that is not simulated."""
    return settings.device.kind != "simulated"


def electrode_line(settings: StimulationSettings, limits_sha256: str) -> str:
    """Return what will be stimulated, and within which limits, in one line.

    Parameters
    ----------
    settings : StimulationSettings
    limits_sha256 : str
        Of the file of hard limits.
    """
    area, shape = settings.electrode_area_cm2, settings.electrode_shape
    device = settings.device.kind
    sizes = "" if shape is None else f", {shape.text()}"
    return (
        f"electrode {settings.electrode} of {settings.subject}: {settings.route}, {area:.6g} cm2 ({100 * area:.6g} mm2)"
        f"{sizes}, into {settings.impedance_ohm:g} ohm; profile {settings.profile}, mode {settings.mode}, device "
        f"{device}; hard limits {hard_limits_path(settings.hard_limits_file).name} (sha256 {limits_sha256})"
    )
