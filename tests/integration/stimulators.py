"""Stimulators with a witness at the far end of their wire, for checks that every kind must pass."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pylsl

from neuroloop.config.stimulation import DeviceSettings
from neuroloop.sinks.stimulator.devices.opening import open_device
from neuroloop.sinks.stimulator.records import Device, DeviceAnswer, DeviceError
from tests.conftest import CHECKOUT
from tests.integration.lsl import DEADLINE_S, find, wait_until

START_CODE, STOP_CODE = 129, 7


@dataclass(frozen=True)
class Rig:
    """An opened device.

    Parameters
    ----------
    device : Device
    is_on : callable
        Whether the far end's output is on, or was told to be.
    times_on : callable
        How often it went on, or was told to.
    cut : callable
        Breaks the wire.
    """

    device: Device
    is_on: Callable[[], bool]
    times_on: Callable[[], int]
    cut: Callable[[], None]


_HELD: WeakKeyDictionary[Device, list[DeviceAnswer]] = WeakKeyDictionary()
"""Answers that came behind the one that was waited for."""


def wait_for(device: Device, kind: str, command: str | None = None) -> DeviceAnswer:
    """Wait for an answer of one kind; those before it are thrown away, those behind it are kept for the next call."""
    held = _HELD.setdefault(device, [])

    def look() -> list[DeviceAnswer]:
        held.extend(device.answers())
        for index, one in enumerate(held):
            if one.kind == kind and command in (None, one.command):
                del held[: index + 1]
                return [one]
        return []

    found: list[DeviceAnswer] = wait_until(look, f"answer {kind!r} to {command!r}")
    return found[0]


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a device's own record."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def edges_of(path: Path) -> list[bool]:
    """Return whether the output went on at each edge in a device's own record."""
    return [line["is_on"] for line in read_record(path) if line["what"] == "edge"]


def rig_of(device: Device, record: Path) -> Rig:
    """Take a device's own record for the witness."""
    return Rig(
        device,
        is_on=lambda: edges_of(record)[-1:] == [True],
        times_on=lambda: edges_of(record).count(True),
        cut=lambda: cut_connection(device),
    )


def cut_connection(device: Device) -> None:
    """Break a socket's connection without a word, as a dying host does."""
    with socket.socket(fileno=os.dup(device.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def simulated(folder: Path, **settings: Any) -> Iterator[Rig]:
    """Open a simulated stimulator."""
    record = folder / "device.jsonl"
    device = open_device(DeviceSettings(kind="simulated", **settings), name="rig", record_path=record)
    try:
        yield rig_of(device, record)
    finally:
        device.close()


@contextmanager
def standalone_process(record: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a simulated stimulator that listens; gives its process and port."""
    module = "neuroloop.sinks.stimulator.devices.simulator.process"
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", "--record", str(record), *options],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


@contextmanager
def standalone(folder: Path) -> Iterator[Rig]:
    """Open a simulated stimulator over TCP."""
    record = folder / "device.jsonl"
    with standalone_process(record) as (_, port):
        device = open_device(DeviceSettings(kind="tcp", port=port), name="rig")
        try:
            yield rig_of(device, record)
        finally:
            device.close()


class Driver:
    """A vendor's driver as the bridge of the documentation wants it."""

    def __init__(self) -> None:
        self.is_on = False
        self.times_on = 0

    def on(self, lease: dict[str, Any]) -> None:
        if lease["end_ma"] > 5.0:
            raise ValueError(f"end_ma must be at most 5.0, got {lease['end_ma']}")
        self.times_on += not self.is_on
        self.is_on = True

    def off(self) -> None:
        self.is_on = False


def documented_bridge() -> Any:
    """Return the class on the page about devices, run from there."""
    page = (CHECKOUT / "docs" / "devices.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/devices.md", "exec"), names)
    return names["Bridge"]


@contextmanager
def bridge(_folder: Path) -> Iterator[Rig]:
    """Open a device behind the bridge of the documentation."""
    driver, make_bridge = Driver(), documented_bridge()

    def serve(server: socket.socket) -> None:
        link, _ = server.accept()
        with link:
            make_bridge(driver, link).serve()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        device = open_device(DeviceSettings(kind="tcp", port=server.getsockname()[1]), name="rig")
        try:
            yield Rig(device, lambda: driver.is_on, lambda: driver.times_on, lambda: cut_connection(device))
        finally:
            device.close()
            thread.join(DEADLINE_S)


@contextmanager
def serial_box(_folder: Path) -> Iterator[Rig]:
    """Open a trigger box at the far end of a pseudo terminal."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    codes: list[int] = []
    is_cut: list[bool] = []

    def listen() -> list[int]:
        with suppress(BlockingIOError):
            codes.extend(os.read(ours, 4096))
        return codes

    def is_on() -> bool:
        return listen()[-1:] == [START_CODE]

    def times_on() -> int:
        return listen().count(START_CODE)

    def cut() -> None:
        is_cut.append(True)
        os.close(ours)

    settings = DeviceSettings(kind="serial", path=os.ttyname(theirs), start_code=START_CODE, stop_code=STOP_CODE)
    try:
        device = open_device(settings, name="rig")
        try:
            yield Rig(device, is_on, times_on, cut)
        finally:
            device.close()
    finally:
        os.close(theirs)
        if not is_cut:
            os.close(ours)


class LslBox:
    """A device that acts on the stream of commands, and heeds the end of each lease."""

    def __init__(self, name: str) -> None:
        self._inlet: Any = pylsl.StreamInlet(find(name).handle)
        self._inlet.open_stream(DEADLINE_S)
        self.messages: list[dict[str, Any]] = []

    def listen(self) -> list[dict[str, Any]]:
        """Take what has come in; return all messages so far."""
        while self._inlet is not None:
            sample, _ = self._inlet.pull_sample(timeout=0.0)
            if sample is None:
                break
            self.messages.append(json.loads(sample[0]))
        return self.messages

    def is_on(self) -> bool:
        messages = self.listen()
        return bool(messages) and messages[-1].get("end", 0.0) > pylsl.local_clock()

    def times_on(self) -> int:
        return sum(one["ev"] == "stim_start" for one in self.listen())

    def leave(self) -> None:
        if self._inlet is not None:
            self._inlet.close_stream()
            self._inlet = None


@contextmanager
def lsl_box(_folder: Path) -> Iterator[Rig]:
    """Open a stream of commands with a device that listens to it."""
    device = open_device(DeviceSettings(kind="lsl"), name=f"rig{time.monotonic_ns()}")
    try:
        box = LslBox(device.capabilities().name.removeprefix("LSL stream "))
        try:
            wait_until(lambda: _can_disarm(device), "a listener is there")
            yield Rig(device, box.is_on, box.times_on, box.leave)
        finally:
            box.leave()
    finally:
        device.close()


def _can_disarm(device: Device) -> bool:
    try:
        device.disarm()
    except DeviceError:
        return False
    return True


RIGS: dict[str, Callable[[Path], Any]] = {
    "simulated": simulated,
    "standalone": standalone,
    "bridge": bridge,
    "serial": serial_box,
    "lsl": lsl_box,
}
"""Every kind of device; a new one comes in here."""
