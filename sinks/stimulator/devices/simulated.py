"""The simulated stimulator: a process of its own at the other end of a socket pair."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from neuroloop.sinks.stimulator.devices.simulator.faults import parse_fault
from neuroloop.sinks.stimulator.devices.tcp import MOST_OFF_S, JsonLinesDevice
from neuroloop.sinks.stimulator.records import DeviceError

_ROOT = Path(str(sys.modules["neuroloop"].__file__)).resolve().parent.parent
_MODULE = "neuroloop.sinks.stimulator.devices.simulator.process"
_START_S = 60.0
_END_S = 5.0


class SimulatedDevice(JsonLinesDevice):
    """A simulated stimulator with its process, which ends with this object or with this program, however that ends.

    A socket pair and not a port: nobody else can reach it, and it learns at once when this program is gone.

    Parameters
    ----------
    step_ma : float
        Amplitudes are multiples of it.
    fault : str, optional
        What goes wrong; see `neuroloop.sinks.stimulator.devices.simulator.faults`.
    record_path : Path, optional
        The device appends its own record to it.
    output_name : str, optional
        The device shows its output as the LSL stream ``<output_name>-stim-output``.
    off_s : float
        So long after a lease is handed over the output must be off.

    Raises
    ------
    DeviceError
        If it cannot be started.
    """

    def __init__(
        self,
        *,
        step_ma: float,
        fault: str | None = None,
        record_path: Path | None = None,
        output_name: str | None = None,
        off_s: float = MOST_OFF_S,
    ) -> None:
        parse_fault(fault)
        command = [sys.executable, "-P", "-m", _MODULE, "--step-ma", repr(step_ma)]
        for option, value in (("--fault", fault), ("--record", record_path), ("--output-name", output_name)):
            if value is not None:
                command.append(f"{option}={value}")
        # -P and this path: a folder of the same name where the program was started must not be taken for ours
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*command, "--link", str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": path},
                    start_new_session=True,  # Ctrl-C is for who commands it, not for the device
                )
            except OSError as error:
                ours.close()
                raise DeviceError(f"device must be able to start its process, got {error.strerror}") from error
        try:
            super().__init__(ours, "the simulated stimulator", _START_S, off_s=off_s)
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        """Of the device's process."""
        return self._process.pid

    def close(self) -> None:
        """Stop the device, cut the connection and wait for its process to end; may be called twice."""
        super().close()
        self._end()

    def _end(self) -> None:
        """Make sure that the process is over; one that does not end by itself is asked, then killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
            return
        self._process.kill()
        self._process.wait()
