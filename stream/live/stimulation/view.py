"""What the cold process shows of the stimulator: its panel, its metrics, from the shared counters."""

from __future__ import annotations

import time

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.metrics.stimulation import StimulationMetrics
from neuroloop.sinks.stimulator.gate.machine import STATES
from neuroloop.sinks.terminal.stimulation_panel import StimulationPanel, StimulationStatus
from neuroloop.stream.live.stimulation.stimulation_state import StimulationLink


def metrics_of(link: StimulationLink, pipeline: str, stream: str) -> StimulationMetrics:
    """Return the metric families of a run's stimulator."""
    return StimulationMetrics(link.counters, pipeline=pipeline, stream=stream)


def panel_of(settings: StimulationSettings) -> StimulationPanel:
    """Return the panel of a run's stimulator."""
    device = "simulated stimulator" if settings.device.kind == "simulated" else f"{settings.device.kind} stimulator"
    where = f"{settings.route} {settings.electrode}, {settings.electrode_area_cm2:g} cm2"
    return StimulationPanel(f"{device}, {settings.mode}: {where}", STATES)


def status_of(link: StimulationLink) -> StimulationStatus:
    """Return how the stimulator is now."""

    def value(name: str) -> float:
        return float(link.numbers(f"stim_{name}")[0])

    until_ns = int(link.numbers("stim_armed_until_ns")[0])
    return StimulationStatus(
        state=STATES[int(link.numbers("stim_state")[0])],
        armed_left_s=max(0.0, (until_ns - time.monotonic_ns()) * 1e-9) if until_ns else 0.0,
        amplitude_ma=value("amplitude_ma"),
        frequency_hz=value("frequency_hz"),
        pulse_width_us=value("pulse_width_us"),
        session_uc=value("session_uc"),
        session_limit_uc=value("session_limit_uc"),
        day_uc=value("day_uc"),
        day_limit_uc=value("day_limit_uc"),
    )
