"""The simulated stimulator as a process: ``python -m neuroloop.sinks.stimulator.devices.simulator.process --port P``.

It speaks JSON lines (``docs/devices.md``), keeps its own record, and switches off when a lease is over, when its host
is gone and when it is asked to end. Whoever opens a simulated device starts it with one end of a socket pair
(``--link``); alone it listens on loopback and serves one host after the other.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from neuroloop.sinks.stimulator.devices.messages import encode_line
from neuroloop.sinks.stimulator.devices.simulator.device_record import DeviceRecord
from neuroloop.sinks.stimulator.devices.simulator.faults import Faults, parse_fault
from neuroloop.sinks.stimulator.devices.simulator.model import ModelLimits, StimulatorModel
from neuroloop.sinks.stimulator.devices.simulator.session import EdgeWatcher, SimulatorSession, write_down
from neuroloop.sinks.stimulator.envelope.balance import SIMULATED_IMBALANCE
from neuroloop.sinks.stimulator.records import Capabilities, DeviceError


def simulated_limits(step_ma: float) -> ModelLimits:
    """Return what the simulated stimulator can do."""
    capabilities = Capabilities(
        name="simulated stimulator",
        max_amplitude_ma=100.0,
        max_frequency_hz=1000.0,
        max_pulse_width_us=1000.0,
        step_ma=step_ma,
        step_us=1.0,
        step_hz=0.1,
        waveforms=("biphasic", "monophasic", "direct", "sine"),
        timeout_s=2.0,
        ends_by_itself=True,
        acknowledges=True,
        imbalance=SIMULATED_IMBALANCE,
    )
    return ModelLimits(capabilities, max_charge_per_phase_uc=60.0)


class SimulatorProcess:
    """Serve hosts, one at a time, until a signal comes.

    Parameters
    ----------
    model : StimulatorModel
    faults : Faults
    record : DeviceRecord
    watcher : EdgeWatcher, optional
    """

    def __init__(
        self, model: StimulatorModel, faults: Faults, record: DeviceRecord, watcher: EdgeWatcher | None = None
    ) -> None:
        self._model = model
        self._faults = faults
        self._record = record
        self._watcher = watcher
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._is_ending = False
        self._server: socket.socket | None = None
        model.is_stuck = faults.is_stuck()

    def heed_signals(self, numbers: Sequence[signal.Signals]) -> None:
        """End at these signals, after switching off; call it in the main thread."""
        signal.set_wakeup_fd(self._rope.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._end_soon)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def listen(self, server: socket.socket) -> None:
        """Serve whoever connects, until a signal comes; one who comes while another is served is turned away."""
        self._server = server
        while not self._is_ending:
            readable, _, _ = select.select([server, self._bell], [], [])
            if server in readable:
                link, _ = server.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(link)

    def serve(self, link: socket.socket) -> None:
        """Serve one host until it is gone, which switches off, or a signal comes; the link is closed."""
        self._record.write("connected", time.monotonic_ns(), {})
        session = SimulatorSession(link, self._model, self._faults, self._record, self._watcher)
        others = [self._bell] if self._server is None else [self._bell, self._server]
        with link:
            session.run(others, self._on_ready)
            if self._is_ending:
                self._switch_off()
        self._record.write("disconnected", time.monotonic_ns(), {"is_on": self._model.is_on})

    def close(self) -> None:
        """Switch off, and close the record."""
        self._switch_off()
        values = {"is_on": self._model.is_on, "total_uc": self._model.total_uc, "n_unwritten": self._record.n_unwritten}
        self._record.write("closed", time.monotonic_ns(), values)
        self._record.close()
        signal.set_wakeup_fd(-1)
        self._bell.close()
        self._rope.close()

    def _switch_off(self) -> None:
        self._model.terminate()
        write_down(self._model, self._record, self._watcher)

    def _on_ready(self, ready: list[socket.socket]) -> bool:
        if self._server is not None and self._server in ready:
            other, _ = self._server.accept()
            with other, suppress(OSError):
                other.setblocking(False)
                other.send(encode_line({"answer": "nack", "command": "hello", "reason": "another host is served"}))
        return self._is_ending

    def _end_soon(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; return its exit status."""
    parser = argparse.ArgumentParser(prog="simulator_process", description="A simulated stimulator.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--port", type=int, help="listen on this port of loopback; 0 for a free one, which is printed")
    way.add_argument("--link", type=int, help="descriptor of a connected stream socket")
    parser.add_argument("--record", type=Path, help="append the device's own record to this file")
    parser.add_argument("--fault", help="what goes wrong, such as latency=20ms,nack=0.1")
    parser.add_argument("--step-ma", type=float, default=0.01, help="amplitudes are multiples of it")
    parser.add_argument("--output-name", help="show the output as the LSL stream NAME-stim-output")
    options = parser.parse_args(arguments)
    link = socket.socket(fileno=options.link) if options.link is not None else None
    try:
        faults = Faults(parse_fault(options.fault))
        server = None if link is not None else socket.create_server(("127.0.0.1", options.port))
        record = DeviceRecord(options.record)
    except (DeviceError, OSError, OverflowError) as error:
        _fail(link, str(error))
        return 1
    limits = simulated_limits(options.step_ma)
    values = {"pid": os.getpid(), "name": limits.capabilities.name, "fault": options.fault or ""}
    record.write("opened", time.monotonic_ns(), values)
    process = SimulatorProcess(
        StimulatorModel(limits, time.monotonic_ns), faults, record, _watcher(options.output_name)
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.heed_signals([signal.SIGTERM] if link is not None else [signal.SIGTERM, signal.SIGINT])
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would delay an edge
    try:
        if link is not None:
            process.serve(link)
        elif server is not None:
            with server:
                sys.stdout.write(f"listening on 127.0.0.1:{server.getsockname()[1]}\n")
                sys.stdout.flush()
                process.listen(server)
    finally:
        process.close()
    return 0


def _watcher(name: str | None) -> EdgeWatcher | None:
    """Make the stream of the output's level where it is wanted; LSL is not even imported otherwise."""
    if name is None:
        return None
    from neuroloop.sinks.stimulator.devices.simulator.output_level import OutputLevel

    return OutputLevel(name)


def _fail(link: socket.socket | None, reason: str) -> None:
    """Say why it cannot start to whoever waits for it."""
    if link is None:
        sys.stderr.write(f"{reason}\n")
        return
    with link, suppress(OSError):
        link.send(encode_line({"answer": "nack", "command": "hello", "reason": reason}))


if __name__ == "__main__":
    sys.exit(main())
