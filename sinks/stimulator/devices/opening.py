"""Which device a configuration means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuroloop.config.stimulation import DeviceSettings, RecommendationSettings
from neuroloop.sinks.stimulator.devices.serial_trigger import SerialTrigger, open_port
from neuroloop.sinks.stimulator.devices.simulated import SimulatedDevice
from neuroloop.sinks.stimulator.devices.tcp import MOST_OFF_S, JsonLinesDevice, connect
from neuroloop.sinks.stimulator.records import Device, DeviceError, Train

_ANSWER_S = 5.0


def open_device(
    settings: DeviceSettings,
    *,
    name: str,
    rows: Sequence[RecommendationSettings] = (),
    record_path: Path | None = None,
    has_output_stream: bool = False,
    off_s: float = MOST_OFF_S,
) -> Device:
    """Open the device; its output is off and it is disarmed.

    Parameters
    ----------
    settings : DeviceSettings
    name : str
        Of the pipeline, as in the names of its streams.
    rows : sequence of RecommendationSettings
        The table, for a trigger box with a code for each row.
    record_path : Path, optional
        Where a simulated device keeps its own record; other kinds keep none here.
    has_output_stream : bool
        Whether a simulated device shows its output as the LSL stream ``<name>-stim-output``; no other kind can.
    off_s : float
        So long after a lease is handed over the output must be off: the watchdog time.

    Raises
    ------
    DeviceError
        If it cannot be opened, in one line.
    """
    if has_output_stream and settings.kind != "simulated":
        raise DeviceError(f"device.kind must be 'simulated' to show its output, got {settings.kind!r}")
    if settings.kind == "simulated":
        output_name = name if has_output_stream else None
        return SimulatedDevice(
            step_ma=settings.step_ma,
            fault=settings.fault,
            record_path=record_path,
            output_name=output_name,
            off_s=off_s,
        )
    if settings.fault is not None:
        raise DeviceError(f"device.fault must be left out unless device.kind is 'simulated', got {settings.fault!r}")
    if settings.kind == "tcp":
        where = f"the device at {settings.host}:{settings.port}"
        return JsonLinesDevice(connect(settings.host, settings.port, _ANSWER_S), where, _ANSWER_S, off_s=off_s)
    if settings.kind == "lsl":
        from neuroloop.sinks.stimulator.devices.lsl import (
            LslDevice,  # pylsl and numpy take 0.2 s that other kinds need not wait
        )

        return LslDevice(name, limits_itself=settings.limits_itself)
    if settings.path is None:
        raise DeviceError("device.path must be the serial port, such as '/dev/ttyUSB0', got nothing")
    return SerialTrigger(
        open_port(settings.path, settings.baudrate),
        codes=_codes(settings, rows),
        start_code=settings.start_code,
        stop_code=settings.stop_code,
        ramps_itself=settings.ramps_itself,
        limits_itself=settings.limits_itself,
    )


def _codes(settings: DeviceSettings, rows: Sequence[RecommendationSettings]) -> dict[Train, int]:
    """Return the code of each row's train."""
    return {
        Train(row.frequency_hz, row.amplitude_ma, row.pulse_width_us, row.waveform): settings.codes[row.state]
        for row in rows
        if row.state in settings.codes
    }
