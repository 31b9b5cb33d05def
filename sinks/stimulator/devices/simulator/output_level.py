"""The output of a simulated stimulator as a signal on the network, for measuring how late it is; never a command."""

from __future__ import annotations

import time

import pylsl

from neuroloop.config.lsl_settings import lsl_settings
from neuroloop.sinks.stimulator.devices.simulator.model import Edge

STREAM_TYPE = "neuroloop-measurement"


def output_stream_name(name: str) -> str:
    """Return what the stream of a device's output is called."""
    return f"{name}-stim-output"


class OutputLevel:
    """Offer one sample at each edge: whether the output is on, its amplitude in mA, and the lease.

    Samples carry the time of the edge itself, on LSL's clock.

    Parameters
    ----------
    name : str
        Of the pipeline; the stream is ``<name>-stim-output``.
    """

    def __init__(self, name: str) -> None:
        pylsl.set_config_content(lsl_settings())
        stream = output_stream_name(name)
        info = pylsl.StreamInfo(stream, STREAM_TYPE, 3, pylsl.IRREGULAR_RATE, "double64", f"{STREAM_TYPE}-{stream}")
        channels = info.desc().append_child("channels")
        for label, unit in (("is_on", ""), ("amplitude", "mA"), ("lease", "")):
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", unit)
            channel.append_child_value("type", "Stim")
        info.desc().append_child("neuroloop").append_child_value("purpose", "measurement")
        self._outlet = pylsl.StreamOutlet(info, max_buffered=60)
        # both are steady clocks; on Linux the same one
        self._offset_s = pylsl.local_clock() - time.monotonic_ns() * 1e-9
        if abs(self._offset_s) < 1e-3:
            self._offset_s = 0.0

    def show(self, edge: Edge) -> None:
        """Send one edge."""
        sample = [float(edge.is_on), edge.amplitude_ma, float(edge.lease)]
        self._outlet.push_sample(sample, edge.t_ns * 1e-9 + self._offset_s)
