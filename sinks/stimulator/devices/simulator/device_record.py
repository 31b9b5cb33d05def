"""``device.jsonl``: what a simulated stimulator itself says it did, apart from all that the program believes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.devices.messages import encode_line, lease_message
from neuroloop.sinks.stimulator.devices.simulator.model import Edge, Interval


class DeviceRecord:
    """Append lines to the device's own record, each with one system call.

    A disk that takes nothing more never holds the device up: lines are counted and given up.

    Parameters
    ----------
    path : Path, optional
        Without it nothing is written.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.n_unwritten = 0
        """Lines that the disk did not take."""
        self._total_uc = 0.0
        self._descriptor = -1
        if path is not None:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, what: str, t_ns: int, values: Mapping[str, Any]) -> None:
        """Write one line; ``t_ns`` is ``CLOCK_MONOTONIC``."""
        if self._descriptor < 0:
            return
        line = encode_line({"what": what, "t_ns": t_ns, **values})
        try:
            n_written = os.write(self._descriptor, line)
            if n_written < len(line):
                self.n_unwritten += 1
                os.write(self._descriptor, b"\n")
        except OSError:
            self.n_unwritten += 1

    def write_edge(self, edge: Edge) -> None:
        """Write that the output went on or off."""
        self.write(
            "edge",
            edge.t_ns,
            {
                "is_on": edge.is_on,
                "lease": edge.lease,
                "amplitude_ma": edge.amplitude_ma,
                "ended_by": edge.ended_by,
                "noticed_ns": edge.noticed_ns,
            },
        )

    def write_intervals(self, intervals: Sequence[Interval]) -> None:
        """Write times with the output on, each with the charge of all such times up to its end."""
        for interval in intervals:
            self._total_uc += interval.charge_uc
            self.write(
                "interval",
                interval.off_ns,
                {
                    "on_ns": interval.on_ns,
                    "off_ns": interval.off_ns,
                    "from_ma": interval.from_ma,
                    "to_ma": interval.to_ma,
                    "reached_ns": interval.reached_ns,
                    "charge_uc": interval.charge_uc,
                    "total_uc": self._total_uc,
                    "ended_by": interval.ended_by,
                    "is_granted": interval.is_granted,
                    "lease": lease_message(interval.lease),
                },
            )

    def close(self) -> None:
        """Put it on the disk; may be called twice, raises nothing."""
        if self._descriptor >= 0:
            try:
                os.fsync(self._descriptor)
            except OSError:
                self.n_unwritten += 1
            os.close(self._descriptor)
            self._descriptor = -1
