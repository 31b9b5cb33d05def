"""Runs that stimulate a simulated device, a sender that can be made to fail, and the device's own record."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pylsl

from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.sinks.stimulator.control import ControlError, ask
from neuroloop.sinks.stimulator.envelope.profiles import file_sha256
from neuroloop.sinks.stimulator.token import TOKEN_FILE
from neuroloop.stream.sources.lsl.description import make_lsl_info
from neuroloop.stream.sources.simulator import Simulator
from tests.integration.live import FINDING, PATIENCE_S, SHARING, Program, Start
from tests.integration.lsl import wait_until
from tests.sinks.stimulator.rig import SHIPPED, quick

WATCHDOG_S, HEARTBEAT_S = 0.5, 0.1
MARGIN_S = 1.5
"""What a busy machine can add; on a quiet one a fault costs at most 0.6 s. More cannot come: a renewal that was decided
before the harm may be held back until the lease before it ends, once on its way to the device and once in it, and lasts
as long again. A later one is refused, by the device's own clock, and a lease ends without anybody's doing."""
_CHUNK = 5
TABLE = (
    "stimulation.table=["
    + ",".join(
        f"{{state: {state}, frequency_hz: 20, amplitude_ma: 0.5, pulse_width_us: 200, duration_s: 60, "
        "min_confidence: 0.0}"
        for state in ("rest", "alpha", "seizure")
    )
    + "]"
)
GATE = (
    f"stimulation.gate={{watchdog_s: {WATCHDOG_S}, heartbeat_s: {HEARTBEAT_S}, hold_off_s: 0.1, confirm_n: 1, "
    "dwell_s: 0, refractory_s: 0.05, lockout_s: 0, blanking_s: 0.02, ramp_s: 0.1, max_age_s: 0.5, "
    "look_every_s: 60, starts_per_episode: 100}"
)


def quick_limits(folder: Path) -> tuple[str, str]:
    """Write the shipped limits, under which a gate may be quick, into a folder; return what names and pins them."""
    path = folder / "limits.yaml"
    if not path.exists():
        path.write_text(json.dumps(quick(SHIPPED).model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return f"stimulation.hard_limits_file={path}", f"stimulation.hard_limits_sha256={file_sha256(path)}"


class Sender:
    """Simulated EEG over LSL from this process, in real time, whose faults the test makes."""

    def __init__(self, name: str) -> None:
        self.name = name
        simulator = Simulator(_simulated())
        self._data = simulator.generate(0, 250 * 50)[0]
        self._info = make_lsl_info(simulator.info, name=name, source_id=name, value_format="double64", stamps="clock")
        self._outlet: Any = pylsl.StreamOutlet(self._info, _CHUNK)
        self._stopped = threading.Event()
        self.is_silent = False
        self.is_nan = False
        self.shift_s = 0.0
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        begin, n = time.monotonic(), 0
        while not self._stopped.is_set():
            n += _CHUNK
            wait_s = begin + n / 250 - time.monotonic()
            if wait_s > 0:
                self._stopped.wait(wait_s)
            rows = self._data[np.arange(n - _CHUNK, n) % len(self._data)].copy()
            if self.is_nan:
                rows[:] = np.nan
            if not self.is_silent and self._outlet is not None:
                self._outlet.push_chunk(rows, pylsl.local_clock() + self.shift_s)

    def cut(self) -> None:
        """Take the stream off the network."""
        self._outlet = None

    def mend(self) -> None:
        """Offer it again."""
        self._outlet = pylsl.StreamOutlet(self._info, _CHUNK)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._outlet = None


def edges_of(folder: Path) -> list[tuple[int, bool]]:
    """Return when a run's simulated device went on and off, by its own record."""
    found = []
    with suppress(FileNotFoundError):
        for line in (folder / "device.jsonl").read_bytes().splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                if record["what"] == "edge":
                    found.append((record["t_ns"], record["is_on"]))
    return found


class StimulatingRun:
    """One run, armed when it is wanted, and what its device says."""

    def __init__(self, start: Start, folder: Path, stream: str, *options: object) -> None:
        self.folder = folder
        named, pinned = quick_limits(folder.parent)
        self.program: Program = start(
            "run", "demo", "--out", folder, *SHARING, *FINDING, "--set", f"name={folder.name}",
            "--set", "source.kind=lsl",
            "--set", f"source.name={stream}", "--set", "source.reconnect_s=60", "--set", "markers.enabled=false",
            "--set", "stimulation.electrode_area_cm2=0.06", "--set", "stimulation.route=implanted", "--set", TABLE,
            "--set", GATE, "--set", f"stimulation.electrode={folder.name}",
            "--set", f"stimulation.ledger={folder.parent / 'ledger'}", "--set", named, "--set", pinned, *options,
        )  # fmt: skip
        self._token = ""

    def token(self) -> str:
        """Return the token, as its owner reads it before the run is armed."""
        if not self._token:
            path = self.folder / TOKEN_FILE
            self._token = wait_until(lambda: path.exists() and path.read_text().strip(), "a token", PATIENCE_S)
        return self._token

    def ask(self, verb: str, **values: str) -> dict[str, Any]:
        """Ask over the operator's socket."""
        request = {"verb": verb, "token": self.token(), "reason": "test", **values}
        return ask(self.folder, request, timeout_s=PATIENCE_S)

    def ask_when_ready(self, verb: str, **values: str) -> dict[str, Any]:
        """Ask as soon as somebody answers."""
        self.token()

        def answer() -> dict[str, Any] | None:
            with suppress(ControlError):
                return self.ask(verb, **values)
            return None

        answered: dict[str, Any] = wait_until(answer, "an answer", PATIENCE_S)
        return answered

    def edges(self) -> list[tuple[int, bool]]:
        """Return when the device's output went on and off, by its own record."""
        return edges_of(self.folder)

    def is_on(self) -> bool:
        edges = self.edges()
        return bool(edges) and edges[-1][1]

    def gets_on(self) -> None:
        """Arm, and again if something disarmed it, until the output is on."""
        self.token()

        def turn() -> bool:
            assert self.program.popen.poll() is None, self.program.err
            with suppress(ControlError):
                state = self.ask("status")["state"]
                if state == "FAULT":
                    self.ask("reset")
                elif state == "DISARMED":
                    self.ask("arm")
                time.sleep(0.05)
            return self.is_on()

        wait_until(turn, f"{self.folder.name} stimulating", PATIENCE_S)

    def off_after_s(self, t_ns: int) -> float:
        """Wait until the output has gone off after a moment; return how long that took by the device's record."""

        def find() -> float | None:
            for at_ns, is_on in self.edges():
                if at_ns >= t_ns and not is_on:
                    return max(1e-9, (at_ns - t_ns) * 1e-9)
            return None

        took_s: float = wait_until(find, f"{self.folder.name} off", PATIENCE_S)
        return took_s


def _simulated() -> SimulatorSettings:
    return load_config("demo", ["source.simulator.block_s=60"]).source.simulator
