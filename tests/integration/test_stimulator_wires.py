"""What goes over the wire of each kind, and what is said when a device cannot be opened or does not behave."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pylsl
import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.config.stimulation import DeviceSettings, StimulationSettings
from neuroloop.sinks.stimulator.devices.lsl import LslDevice
from neuroloop.sinks.stimulator.devices.messages import capabilities_message, encode_line
from neuroloop.sinks.stimulator.devices.opening import open_device
from neuroloop.sinks.stimulator.devices.serial_trigger import SerialTrigger
from neuroloop.sinks.stimulator.devices.simulator.process import simulated_limits
from neuroloop.sinks.stimulator.devices.tcp import JsonLinesDevice
from neuroloop.sinks.stimulator.records import Device, DeviceError, Train
from neuroloop.stream.live.stimulation.setup import StimulationPlan, equip
from tests.conftest import CHECKOUT
from tests.integration.lsl import DEADLINE_S, find, wait_until
from tests.integration.stimulators import Driver, LslBox, documented_bridge
from tests.sinks.stimulator.devices.leases import make_lease

LIMITS = simulated_limits(0.01)
HELLO = encode_line(capabilities_message(LIMITS.capabilities, LIMITS.max_charge_per_phase_uc))


@contextmanager
def far_end(serve: Callable[[socket.socket], None]) -> Iterator[DeviceSettings]:
    """Listen on a port; who connects is served by a function, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            link, _ = server.accept()
            with link:
                serve(link)

        thread = threading.Thread(target=accept)
        thread.start()
        yield DeviceSettings(kind="tcp", port=server.getsockname()[1])
        thread.join(DEADLINE_S)


def saying(*lines: bytes) -> Callable[[socket.socket], None]:
    """Answer hello with these lines, and then wait for the end."""

    def serve(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(b"".join(lines))
        while link.recv(65_536):
            pass

    return serve


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"good morning\n"], r"must speak JSON lines: a line must be JSON, got b'good morning'"),
        ([b"x" * 70_000], r"must say what it can do, got a lost connection \(it must speak JSON lines: a line must"),
        ([b'{"answer":"ack"}\n'], r"device must answer hello with its capabilities, got \{'answer': 'ack'\}"),
        ([HELLO.replace(b'"version":2', b'"version":1')], r"version 2 of the protocol, got 1: a lease names slew_ma_s"),
        ([b'{"answer":"nack","reason":"not now"}\n'], r"the device at 127.0.0.1:\d+ must be free .*: not now"),
    ],
)
def test_a_device_that_does_not_speak_the_protocol_is_refused_in_one_line(lines: list[bytes], message: str) -> None:
    with far_end(saying(*lines)) as settings, pytest.raises(DeviceError, match=message) as caught:
        open_device(settings, name="x")
    assert "\n" not in str(caught.value)


def test_a_device_that_says_nothing_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(DeviceError, match=r"the box must say what it can do within 0\.05 s, got no answer"):
        JsonLinesDevice(ours, "the box", 0.05)
    assert ours.fileno() == -1


def test_a_device_that_closes_at_once_is_lost() -> None:
    with far_end(lambda link: None) as settings, pytest.raises(DeviceError, match=r"got a lost connection"):
        open_device(settings, name="x")


def test_a_device_that_counts_in_a_unit_that_nobody_asked_it_about_is_cut_off() -> None:
    silent = json.dumps({**json.loads(HELLO), "known_dose_uc": None}).encode() + b"\n"

    def serve(link: socket.socket) -> None:
        assert json.loads(link.recv(4096))["known_dose"]["pulses"] == 10
        link.sendall(silent)
        link.recv(4096)
        said = {"answer": "status", "command": "status", "seq": 2, "lease": 0, "is_on": False, "delivered_uc": 0.0}
        link.sendall(encode_line(said))
        while link.recv(65_536):
            pass

    with far_end(serve) as settings:
        device = open_device(settings, name="x")
        device.status()
        (lost,) = wait_until(device.answers, "lost")
        assert lost.kind == "lost"
        assert "delivered_uc must be null from a device that left known_dose_uc out" in lost.reason
        device.close()


def test_garbage_in_place_of_an_answer_cuts_the_device_off() -> None:
    def serve(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(HELLO)
        link.recv(4096)
        link.sendall(b"ouch\n")
        while link.recv(65_536):
            pass

    with far_end(serve) as settings:
        device = open_device(settings, name="x")
        device.status()
        (lost,) = wait_until(device.answers, "lost")
        assert lost.kind == "lost"
        assert lost.reason == "it must speak JSON lines: a line must be JSON, got b'ouch'"
        device.close()


def test_answers_that_come_in_pieces_are_put_together() -> None:
    ours, theirs = socket.socketpair()
    line = b'{"answer":"status","command":"","lease":2,"is_on":true,"delivered_uc":null}\n'
    with theirs:
        theirs.sendall(HELLO + line[:20])
        device = JsonLinesDevice(ours, "the box", 5.0)
        assert device.answers() == []
        theirs.sendall(line[20:] + line.replace(b"2", b"3"))
        answers = device.answers()
        assert [(one.kind, one.lease, one.is_on, one.t_ns) for one in answers] == [
            ("status", 2, True, 0),
            ("status", 3, True, 0),
        ]
        device.close()


STATUS = b'{"answer":"status","command":"","lease":2,"is_on":true,"delivered_uc":null}\n'


def test_a_device_that_floods_the_line_is_cut_off_and_hardly_anything_of_it_is_passed_on() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(HELLO)
        device = JsonLinesDevice(ours, "the box", 5.0)
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                theirs.send(STATUS * 100)
        answers = device.answers()
        assert [one.kind for one in answers] == ["status", "lost"]
        assert answers[-1].reason == "it must say at most 50 things a second unasked, got a flood"
        assert device.answers() == []
        device.close()


def test_a_device_that_says_how_it_is_twenty_times_a_second_is_no_flood() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(HELLO)
        device = JsonLinesDevice(ours, "the box", 5.0)
        theirs.sendall(STATUS * 20)
        device.stop()
        theirs.sendall(encode_line({"answer": "ack", "command": "stop", "seq": 2, "lease": 2, "is_on": False}))
        assert [(one.kind, one.trip_ns > 0) for one in device.answers()] == [("status", False), ("ack", True)]
        device.close()


def clocked(ahead_ns: int) -> bytes:
    clock_ns = time.monotonic_ns() + ahead_ns
    return encode_line(capabilities_message(LIMITS.capabilities, LIMITS.max_charge_per_phase_uc, clock_ns))


@pytest.mark.parametrize("ahead_ns", [0, 3_600_000_000_000])
def test_a_lease_says_by_when_it_must_be_over_on_the_devices_own_clock(ahead_ns: int) -> None:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        theirs.recv(4096)
        theirs.sendall(clocked(ahead_ns))

    with theirs:
        thread = threading.Thread(target=serve)
        thread.start()
        device = JsonLinesDevice(ours, "the box", DEADLINE_S, off_s=0.5)
        thread.join()
        opened_ns = time.monotonic_ns()
        device.start(make_lease(1))
        handed_ns = time.monotonic_ns()
        not_after_ns = json.loads(theirs.recv(4096))["lease"]["not_after_ns"]
        # no later than half a second from when it was handed over, earlier by how long the greeting took at most
        assert not_after_ns <= handed_ns + 500_000_000 + ahead_ns
        assert not_after_ns > opened_ns + 500_000_000 + ahead_ns - round(DEADLINE_S * 1e9)
        device.close()


def test_a_device_whose_clock_stands_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(clocked(0))
        device = JsonLinesDevice(ours, "the box", 5.0)
        lost: list[Any] = []
        for seq in range(2, 9):
            device.status()
            answer = {"answer": "status", "command": "status", "seq": seq, "lease": 0, "is_on": False, "t_ns": 5}
            theirs.sendall(encode_line(answer))
            lost += [one.reason for one in device.answers() if one.kind == "lost"]
            if lost:
                break
        assert lost == ["its clock must run as ours does, got one that stands or jumps"]
        device.close()


def test_closing_says_stop_before_the_connection_ends() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(HELLO)
        device = JsonLinesDevice(ours, "the box", 5.0)
        device.close()
        device.close()
        sent = [json.loads(line)["command"] for line in theirs.recv(65_536).splitlines()]
        assert sent == ["hello", "stop"]
        assert theirs.recv(65_536) == b""


def test_commands_go_without_delay() -> None:
    with far_end(saying(HELLO)) as settings:
        device = open_device(settings, name="x")
        with socket.socket(fileno=os.dup(device.fileno())) as twin:
            assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        device.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "tcp"}, r"device\.port must be in \[1, 65535\] for a tcp device, got 0"),
        ({"kind": "tcp", "port": 1}, r"device\.host and port must be where the device listens, got 127\.0\.0\.1:1 \("),
        ({"kind": "tcp", "port": 1, "fault": "dead"}, r"device\.fault must be left out unless .* 'simulated', got"),
        ({"kind": "serial"}, r"device\.path must be the serial port, such as '/dev/ttyUSB0', got nothing"),
        (
            {"kind": "serial", "path": "/dev/no-such-port"},
            r"device\.path must be a serial port that can be opened, got '/dev/no-such-port' \(No such file",
        ),
        ({"fault": "burn"}, r"device\.fault must name known faults \(latency, .*\), got 'burn'"),
    ],
)
def test_a_device_that_cannot_be_opened_is_said_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        open_device(DeviceSettings(**settings), name="x")
    assert "\n" not in str(caught.value)


def test_only_a_simulated_device_shows_its_output() -> None:
    with pytest.raises(DeviceError, match=r"device\.kind must be 'simulated' to show its output, got 'lsl'"):
        open_device(DeviceSettings(kind="lsl"), name="x", has_output_stream=True)


@contextmanager
def trigger_box(**settings: Any) -> Iterator[tuple[Device, int]]:
    """Open a trigger box; gives the descriptor of the far end too."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    try:
        device = open_device(DeviceSettings(kind="serial", path=os.ttyname(theirs), **settings), name="x")
        try:
            yield device, ours
        finally:
            device.close()
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_trigger_box_gets_one_byte_a_command_and_the_stop_code_first_and_last() -> None:
    with trigger_box(start_code=200, stop_code=3) as (device, far):
        device.arm()
        device.start(make_lease(1))
        device.renew(make_lease(2))
        device.arm()  # armed already and on: it must not switch off
        device.stop()
        device.disarm()
        device.close()
        codes = bytearray()
        wait_until(lambda: len(_take(far, codes)) >= 7, "all codes")
        assert codes == bytes([3, 3, 200, 200, 3, 3, 3])


@pytest.mark.parametrize("command", ["start", "renew"])
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"slew_ma_s": 5.0}, r"lease\.train\.amplitude_ma must be above 0 and at most 0\.005, one step, .* got 2\.5"),
        ({"train": Train(20.0, 0.0, 200.0, "biphasic")}, r"lease\.train\.amplitude_ma must be above 0 .* got 0\.0"),
        (
            {"train": Train(20.0, 1.0, 100.0, "biphasic")},
            r"lease\.train must be the first one .*2\.5.*, got Train.*1\.0",
        ),
    ],
)
def test_a_trigger_box_sends_no_code_for_a_ramp_or_another_train(
    command: str, change: dict[str, Any], rule: str
) -> None:
    with trigger_box() as (device, far):
        device.arm()
        device.start(make_lease(1, duration_s=2.0))
        if command == "start":
            device.stop()
        lease = make_lease(2, **change)
        fault = device.validate(lease)
        assert fault is not None
        assert re.match(rule, fault)
        with pytest.raises(DeviceError, match=rule):
            getattr(device, command)(lease)
        device.stop()
        codes, n_stops = bytearray(), 4 if command == "start" else 3
        wait_until(lambda: len(_take(far, codes)) > n_stops, "all codes")
        assert codes.count(1) == 1


def test_a_box_that_cannot_do_what_is_configured_gets_no_code_at_all(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    row = {"state": "rest", "frequency_hz": 20, "amplitude_ma": 1, "pulse_width_us": 100, "duration_s": 10}
    values = {"electrode_area_cm2": 0.06, "route": "implanted", "table": [row], "mode": "real",
              "subject": "S01", "electrode": "E1", "electrode_shape": {"kind": "disc", "diameter_mm": 2.76},
              "ledger": str(tmp_path), "gate": {"ramp_s": 0, "soft_stop_s": 0},
              "device": {"kind": "serial", "path": os.ttyname(theirs)}}  # fmt: skip
    config = load_config("stimulation").model_copy(
        update={"stimulation": StimulationSettings.model_validate(values).model_copy(update={"mode": "sham"})}
    )
    plan = StimulationPlan(config, cast("Any", None), tmp_path, frozenset(), "run", "", "", None, 0.0, 0.1, 0.0)
    try:
        with pytest.raises(ConfigError) as caught, ExitStack() as stack:
            equip(plan, cast("Any", None), stack)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(theirs)
        os.close(ours)
    assert [line.partition(" must be ")[0] for line in str(caught.value).splitlines()] == [
        "stimulation.mode",
        "stimulation.table.0.amplitude_ma",
    ]


def _take(far: int, codes: bytearray) -> bytearray:
    """Add what has come in at the far end."""
    with suppress(BlockingIOError):
        codes += os.read(far, 65_536)
    return codes


def test_a_full_port_is_an_error_and_never_a_wait_and_a_stop_makes_room() -> None:
    with trigger_box() as (device, far):
        device.arm()
        device.start(make_lease(1, duration_s=2.0))
        with pytest.raises(DeviceError, match=r"the serial port /dev/\S+ must take codes, got a full buffer"):
            _renew_forever(device)
        device.stop()
        assert device.answers() == []
        codes = bytearray()
        wait_until(lambda: _take(far, codes).endswith(b"\x00"), "the stop code came through")


def test_a_stop_that_a_port_takes_not_even_emptied_is_said_and_the_box_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with trigger_box() as (device, _):
        device.arm()
        device.start(make_lease(1, duration_s=2.0))
        assert isinstance(device, SerialTrigger)
        with pytest.raises(DeviceError, match=r"must take codes"):
            _renew_forever(device)
        monkeypatch.setattr(device._port, "reset_output_buffer", lambda: None)  # a driver that keeps what it holds
        fault = device.stop()
        assert fault is not None
        assert fault.startswith("the stop code was not taken (the serial port")
        assert [(one.kind, one.reason) for one in device.answers()] == [("lost", fault)]


def _renew_forever(device: Device) -> None:
    for number in range(2, 1_000_000):
        device.renew(make_lease(number, duration_s=2.0))


def test_equal_codes_are_refused_and_the_port_is_free_again() -> None:
    ours, theirs = os.openpty()
    try:
        path = os.ttyname(theirs)
        with pytest.raises(DeviceError, match=r"device\.stop_code must differ from start_code=5, got 5"):
            open_device(DeviceSettings(kind="serial", path=path, start_code=5, stop_code=5), name="x")
        open_device(DeviceSettings(kind="serial", path=path), name="x").close()
    finally:
        os.close(theirs)
        os.close(ours)


def test_without_pyserial_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(DeviceError, match=r"device\.kind must be other than 'serial' .* \(pip install pyserial\)"):
        open_device(DeviceSettings(kind="serial", path="/dev/null"), name="x")


@pytest.mark.parametrize("limits_itself", [False, True])
def test_a_one_way_device_ends_leases_by_itself_only_if_the_user_says_so(limits_itself: bool) -> None:
    with trigger_box(limits_itself=limits_itself) as (device, _):
        assert isinstance(device, SerialTrigger)
        assert device.capabilities().ends_by_itself is limits_itself
    lsl = LslDevice("unheard", limits_itself=limits_itself)
    assert lsl.capabilities().ends_by_itself is limits_itself
    lsl.close()


def test_a_stream_that_nobody_hears_takes_no_command() -> None:
    device = LslDevice("lonely", limits_itself=True)
    with pytest.raises(DeviceError, match=r"a device must listen to the LSL stream lonely-stimulation to arm, got nob"):
        device.arm()
    device.stop()
    assert device.answers() == []
    device.close()


def test_commands_on_the_stream_carry_their_lease_and_their_end(lsl_session: str) -> None:
    assert lsl_session
    device = LslDevice("paper", limits_itself=True)
    box = LslBox("paper-stimulation")
    try:
        found = find("paper-stimulation")
        assert (found.type, found.format, found.sfreq) == ("Stimulation", "string", 0.0)
        assert found.source_id.startswith("neuroloop-stim-")
        wait_until(lambda: _armed(device), "a listener is there")
        before = pylsl.local_clock()
        device.start(make_lease(1, slew_ma_s=5.0))
        device.renew(make_lease(2))
        after = pylsl.local_clock()
        device.stop()
        device.disarm()
        wait_until(lambda: len(box.listen()) >= 5, "all commands")
    finally:
        box.leave()
        device.close()
    assert [one["ev"] for one in box.messages] == ["arm", "stim_start", "stim_renew", "stim_stop", "disarm"]
    first = box.messages[1]
    assert before + 0.5 <= first.pop("end") <= after + 0.5
    assert first == {
        "ev": "stim_start", "v": 2, "id": 1, "mA": 2.5, "slew_mA_s": 5.0, "us": 200.0, "hz": 20.0,
        "waveform": "biphasic", "uC": 0.5, "lease_s": 0.5,
    }  # fmt: skip
    assert box.messages[3]["id"] == 2


def test_a_stream_that_is_closed_says_stop_before_it_goes(lsl_session: str) -> None:
    assert lsl_session
    device = LslDevice("leaving", limits_itself=True)
    box = LslBox("leaving-stimulation")
    try:
        wait_until(lambda: _armed(device), "a listener is there")
        device.start(make_lease(1, duration_s=2.0))
        device.close()
        wait_until(lambda: [one["ev"] for one in box.listen()][1:] == ["stim_start", "stim_stop"], "the stop")
    finally:
        box.leave()
        device.close()


def _armed(device: Device) -> bool:
    try:
        device.arm()
    except DeviceError:
        return False
    return True


class HalfwayDriver(Driver):
    """Goes on, and only then finds out that it should not have."""

    def on(self, lease: dict[str, Any]) -> None:
        super().on(lease)
        raise ValueError("read-back must match, got another amplitude")


def test_the_documented_bridge_switches_off_a_driver_that_went_on_before_it_refused() -> None:
    driver = HalfwayDriver()
    with far_end(lambda link: documented_bridge()(driver, link).serve()) as settings:
        device = open_device(settings, name="rig")
        try:
            device.arm()
            device.start(make_lease(1))
            wait_until(lambda: "nack" in [one.kind for one in device.answers()], "the refusal")
            assert driver.times_on == 1
            assert not driver.is_on
        finally:
            device.close()


def test_the_example_session_of_the_documentation_is_true(tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "devices.md").read_text(encoding="utf-8")
    block = page[page.index('    -> {"command":"hello"') : page.index("(The lines are broken here")]
    text = block.replace("\n        ", "")
    lines = [json.loads(line.strip()[3:]) for line in text.splitlines() if line.strip()]
    commands = [one for one in lines if "answer" not in one]
    answers = [one for one in lines if "answer" in one]
    assert [one["seq"] for one in commands] == [one["seq"] for one in answers] == [1, 2, 3, 4, 5]
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"".join(encode_line(one) for one in answers))
        device = JsonLinesDevice(ours, "the box", 5.0)
        device.arm()
        device.start(_lease_of(commands[2]))
        device.renew(_lease_of(commands[3]))
        assert device.validate(_lease_of(commands[2])) is None
        assert device.validate(_lease_of(commands[3])) is not None
        device.stop()
        assert [one.kind for one in device.answers()] == ["ack", "ack", "nack", "ack"]
        sent = theirs.recv(65_536).splitlines()
        assert [json.loads(line) for line in sent] == commands
        device.close()


def _lease_of(command: dict[str, Any]) -> Any:
    from neuroloop.sinks.stimulator.devices.messages import read_lease

    return read_lease(command["lease"])


def test_only_the_devices_import_pyserial_and_offer_streams_of_commands() -> None:
    importing, offering = set(), set()
    for folder in ("config", "stream", "processors", "models", "sinks"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
                     for alias in node.names}  # fmt: skip
            names |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            if "serial" in names:
                importing.add(path.relative_to(CHECKOUT).as_posix())
            if any(isinstance(node, ast.Constant) and node.value == "Stimulation" for node in ast.walk(tree)):
                offering.add(path.relative_to(CHECKOUT).as_posix())
    assert importing == {"sinks/stimulator/devices/serial_trigger.py"}
    assert offering == {"sinks/stimulator/devices/lsl.py"}
