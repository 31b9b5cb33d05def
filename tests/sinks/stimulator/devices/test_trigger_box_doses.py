"""Doses of a trigger box with a code for each row and a ramp of its own: what it is told, and what it then gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.devices.lease_guard import one_way_capabilities
from neuroloop.sinks.stimulator.devices.serial_trigger import SerialTrigger
from neuroloop.sinks.stimulator.envelope.assessing import assess_table, assessment_text
from neuroloop.sinks.stimulator.records import DeviceError, GateOutput, Lease, Train
from tests.sinks.stimulator.gate.test_gate import QUICK
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of

ROWS = (
    row("alpha", duration_s=12.0),
    row("beta", amplitude_ma=1.0, pulse_width_us=100.0, duration_s=12.0),
)
CODES = {"alpha": 7, "beta": 9}
TRAINS = {Train(one.frequency_hz, one.amplitude_ma, one.pulse_width_us, one.waveform): CODES[one.state] for one in ROWS}
STOP = 3
RATE_MA_S = 10.0
"""The slew limit of the shipped profile that the rows are judged by."""


class Port:
    """A port whose bytes are there at once; a pseudo terminal hands them on when the kernel has time."""

    port = "pipe"

    def __init__(self) -> None:
        self.is_open, self.out_waiting = True, 0
        self.far, self._near = os.pipe()
        os.set_blocking(self.far, False)

    def fileno(self) -> int:
        return self._near

    def write(self, data: bytes) -> int:
        return os.write(self._near, data)

    def read(self, _: int) -> bytes:
        return b""

    def reset_output_buffer(self) -> None:
        raise AssertionError("nothing waits in it")

    def close(self) -> None:
        self.is_open = False
        os.close(self._near)


def box_settings(**values: Any) -> StimulationSettings:
    """Return settings of a box with two rows that ramps by itself."""
    device = {
        "kind": "serial",
        "path": "/dev/ttyS9",
        "stop_code": STOP,
        "codes": CODES,
        "ramps_itself": True,
        "imbalance": 0.0,
    }
    device |= values.pop("device", {})
    bounds = {"hold_off_s": 1.0, "blanking_s": 0.1, "lockout_s": 60.0}
    gate = {**QUICK, **bounds, "ramp_s": 1.0, "soft_stop_s": 0.0} | values.pop("gate", {})
    place = {"subject": "S01", "electrode": "E1", "electrode_shape": {"kind": "disc", "diameter_mm": 2.76}}
    return settings(values.pop("rows", ROWS), **{**place, "mode": "real", "device": device, "gate": gate} | values)


class BoxRig(Rig):
    """A rig whose commands reach a trigger box."""

    def __post_init__(self) -> None:
        port = Port()
        self.far = port.far
        self.box = SerialTrigger(
            port, start_code=1, stop_code=STOP, limits_itself=True, codes=TRAINS, ramps_itself=True,
            clock_ns=lambda: self.now_ns,
        )  # fmt: skip
        self.codes: list[tuple[int, int]] = []
        self.faults: list[str] = []
        super().__post_init__()

    def _leave(self, one: GateOutput) -> None:
        action = one.values["action"]
        try:
            if one.lease is not None:
                getattr(self.box, action)(one.lease)
            elif action == "disarm":
                self.box.stop()
                self.box.disarm()
            else:
                getattr(self.box, action)()
        except DeviceError as error:
            self.faults.append(str(error))
        try:
            sent = os.read(self.far, 4096)
        except BlockingIOError:
            sent = b""
        self.codes += [(self.now_ns, code) for code in sent]

    def close(self) -> None:
        self.box.close()
        os.close(self.far)


@pytest.fixture
def rig() -> Iterator[BoxRig]:
    made = setup_of(box_settings(), capabilities=one_way_capabilities("box", limits_itself=True))
    one = BoxRig(made)
    yield one
    one.close()


def started(rig: BoxRig, label: str = "alpha", seconds: float = 4) -> int:
    """Give a dose; return how many codes there were by then."""
    rig.arm()
    rig.stay(label, seconds)
    assert rig.at() == "STIMULATING"
    assert rig.faults == []
    return len(rig.codes)


def starts(codes: list[tuple[int, int]]) -> list[int]:
    return [code for _, code in codes if code != STOP]


def level_ma(rig: BoxRig) -> float:
    """Return where a box is by now that ramps and prolongs as its user has confirmed."""
    by_code = {code: train.amplitude_ma for train, code in TRAINS.items()}
    level, last_ns, end_ns, target = 0.0, 0, 0, 0.0
    for at, code in [*rig.codes, (rig.now_ns, -1)]:
        level = 0.0 if at > end_ns else min(target, level + target / 1.0 * (at - last_ns) * 1e-9)
        last_ns = at
        if code == STOP:
            level, target, end_ns = 0.0, 0.0, 0
        elif code >= 0:
            target, end_ns = by_code[code], at + 500_000_000
    return level


def test_each_row_has_its_own_code_and_every_code_of_a_dose_is_that_of_its_row(rig: BoxRig) -> None:
    started(rig)
    assert set(starts(rig.codes)) == {7}
    rig.stay("rest", 4)
    before = len(rig.codes)
    rig.stay("beta", 4)
    assert set(starts(rig.codes[before:])) == {9}
    assert rig.faults == []


def test_the_gates_own_line_is_what_a_box_gives_that_ramps_by_itself(rig: BoxRig) -> None:
    rig.arm()
    rig.decide("alpha")
    rig.decide("alpha")
    for _ in range(20):
        rig.move(0.1)
        line = rig.gate._dosing.line
        if line.current is not None:
            assert level_ma(rig) <= line.most_ma(rig.now_ns) + 1e-9
    assert level_ma(rig) == 2.0


@pytest.mark.parametrize("reason", ["artifact", "drift", "disarm", "operator", "state left", "dose given"])
def test_whatever_ends_a_dose_sends_the_stop_code_and_no_start_code(rig: BoxRig, reason: str) -> None:
    before = started(rig)
    if reason == "artifact":
        rig.event("artifact", kind="rail")
    elif reason == "drift":
        rig.event("drift", what="onset", monitor="m", hold=True)
    elif reason in ("disarm", "operator"):
        rig.operator("disarm" if reason == "disarm" else "stop")
    elif reason == "state left":
        rig.stay("rest", 1)
    else:
        rig.stay("alpha", 12)
        before = max(index for index, (_, code) in enumerate(rig.codes) if code != STOP) + 1
    rig.move(2.5)
    after = rig.codes[before:]
    assert after[0][1] == STOP
    assert starts(after) == []
    assert level_ma(rig) == 0.0
    assert rig.faults == []


def test_a_box_whose_program_is_gone_is_over_within_a_lease(rig: BoxRig) -> None:
    before = started(rig)
    rig.now_ns += 510_000_000
    assert len(rig.codes) == before
    assert level_ma(rig) == 0.0


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"device": {"codes": {"alpha": 7}}}, r"device\.codes must have a code for each row .*, got none for beta"),
        ({"device": {"codes": {"alpha": 7, "beta": 7}}}, r"device\.codes must be different .*, got \[7, 7, 3\]"),
        ({"device": {"codes": {"alpha": 7, "beta": 3}}}, r"device\.codes must be different .*, got \[7, 3, 3\]"),
        ({"device": {"codes": {}}}, r"table must be one row for device\.kind 'serial'.*, got 2 rows"),
        ({"device": {"ramps_itself": False}}, r"gate\.ramp_s must be 0 for device\.kind 'serial'.*, got 1\.0"),
        ({"gate": {"soft_stop_s": 0.5}}, r"gate\.soft_stop_s must be 0 for device\.kind 'serial'.*, got 0\.5"),
        ({"mode": "sham"}, r"mode must be 'real' for device\.kind 'serial'"),
        ({"mode": "blinded"}, r"mode must be 'real' for device\.kind 'serial'"),
        (
            {"rows": (ROWS[0], row("beta", duration_s=9.0))},
            r"table must have a train once for device\.kind 'serial' with codes, got 2 rows",
        ),
    ],
)
def test_what_no_box_can_express_is_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        box_settings(**values)


def test_a_ramp_of_the_box_is_judged_as_that_of_any_device_and_shown() -> None:
    found = assess_table(box_settings(gate={"ramp_s": 0.0}))
    assert [one["verdict"] for one in found["rows"]] == ["allowed", "allowed"]
    assert "the box must ramp up over 0.2 s or more by itself" in assessment_text(found)
    found = assess_table(box_settings(gate={"ramp_s": 0.1}, limits={"min_ramp_s": 0.5}))
    assert "ramp_s must be at least 0.5" in found["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("command", "train", "rule"),
    [
        ("start", Train(50.0, 1.5, 200.0, "biphasic"), "must be one that the box has a code for"),
        ("start", Train(50.0, 0.0, 200.0, "biphasic"), "must be one that the box has a code for"),
        ("renew", Train(50.0, 1.0, 100.0, "biphasic"), "must be the first one"),
        ("renew", Train(50.0, 0.0, 100.0, "biphasic"), "must be one that the box has a code for"),
    ],
)
def test_the_device_itself_sends_no_code_for_what_has_none(rig: BoxRig, command: str, train: Train, rule: str) -> None:
    rig.box.arm()
    rig.box.start(Lease(1, Train(50.0, 2.0, 200.0, "biphasic"), RATE_MA_S, 0.5, 99.0))
    if command == "start":
        rig.box.stop()
    with pytest.raises(DeviceError, match=rule):
        getattr(rig.box, command)(Lease(2, train, RATE_MA_S, 0.5, 99.0))
