"""What every stimulator must do, checked over every kind through the real wire."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neuroloop.sinks.stimulator.records import Device, DeviceError, Lease
from tests.integration.lsl import wait_until
from tests.integration.stimulators import RIGS, Rig, wait_for
from tests.sinks.stimulator.devices.leases import PULSES, make_lease


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path, lsl_session: str) -> Iterator[Rig]:
    """Each kind of device in turn, opened."""
    assert lsl_session
    with RIGS[request.param](tmp_path) as one:
        yield one


def do(device: Device, command: str, lease: Lease | None = None) -> None:
    """Hand a command over and wait until a device that answers has said yes."""
    call: Callable[..., None] = getattr(device, command)
    call(*([] if lease is None else [lease]))
    if device.capabilities().acknowledges:
        wait_for(device, "ack", command)


def refused(device: Device, command: str, lease: Lease) -> str:
    """Hand a command over and return why it is refused, by the device or in its place."""
    if device.capabilities().acknowledges:
        getattr(device, command)(lease)
        return wait_for(device, "nack", command).reason
    with pytest.raises(DeviceError, match="must be") as caught:
        getattr(device, command)(lease)
    return str(caught.value)


def start(rig: Rig, number: int = 1, duration_s: float = 2.0) -> None:
    do(rig.device, "arm")
    do(rig.device, "start", make_lease(number, duration_s=duration_s))
    wait_until(lambda: rig.times_on() == 1, "the output went on")


def test_it_implements_the_protocol_and_says_what_it_can(rig: Rig) -> None:
    assert isinstance(rig.device, Device)
    can = rig.device.capabilities()
    assert can == rig.device.capabilities()
    assert can.name
    assert can.waveforms
    numbers = (can.max_amplitude_ma, can.max_frequency_hz, can.max_pulse_width_us, can.timeout_s)
    assert all(0 < number < math.inf for number in numbers)
    assert all(0 <= step < math.inf for step in (can.step_ma, can.step_us, can.step_hz))


def test_it_says_what_it_would_not_deliver(rig: Rig) -> None:
    can, good = rig.device.capabilities(), make_lease()
    assert rig.device.validate(good) is None
    for bad in (
        replace(good, duration_s=can.timeout_s * 1.01),
        replace(good, duration_s=0.0),
        replace(good, train=replace(PULSES, amplitude_ma=math.nan)),
        replace(good, train=replace(PULSES, amplitude_ma=can.max_amplitude_ma * 2)),
        replace(good, train=replace(PULSES, pulse_width_us=can.max_pulse_width_us * 2)),
        replace(good, train=replace(PULSES, frequency_hz=can.max_frequency_hz * 2)),
        replace(good, charge_uc=0.0),
    ):
        fault = rig.device.validate(bad)
        assert fault is not None
        assert fault.startswith("lease.")
        assert "\n" not in fault


def test_it_is_off_and_deaf_until_it_is_armed(rig: Rig) -> None:
    assert not rig.is_on()
    assert refused(rig.device, "start", make_lease())
    do(rig.device, "arm")
    assert not rig.is_on()


def test_it_goes_on_at_a_start_and_off_at_a_stop(rig: Rig) -> None:
    start(rig)
    do(rig.device, "stop")
    wait_until(lambda: not rig.is_on(), "the output is off")
    do(rig.device, "start", make_lease(2))
    wait_until(lambda: rig.times_on() == 2, "the output went on again without arming anew")


def test_it_goes_off_at_disarming_and_takes_no_lease_then(rig: Rig) -> None:
    start(rig)
    do(rig.device, "disarm")
    wait_until(lambda: not rig.is_on(), "the output is off")
    assert refused(rig.device, "start", make_lease(2))
    assert not rig.is_on()


def test_a_stop_may_come_in_any_state_and_again(rig: Rig) -> None:
    do(rig.device, "stop")
    start(rig)
    for _ in range(3):
        do(rig.device, "stop")
    wait_until(lambda: not rig.is_on(), "the output is off")
    rig.device.close()
    rig.device.stop()


def test_it_refuses_a_start_while_it_is_on_and_a_lease_that_came_before(rig: Rig) -> None:
    start(rig, 3)
    assert refused(rig.device, "start", make_lease(4))
    assert refused(rig.device, "renew", make_lease(3))
    do(rig.device, "stop")
    assert refused(rig.device, "start", make_lease(2))


def test_it_refuses_a_renewal_without_a_lease_in_force(rig: Rig) -> None:
    do(rig.device, "arm")
    assert refused(rig.device, "renew", make_lease(1))
    assert not rig.is_on()


def test_it_refuses_a_renewal_that_comes_after_the_end(rig: Rig) -> None:
    start(rig, 1, duration_s=0.3)
    if rig.device.capabilities().acknowledges:
        ended = wait_for(rig.device, "status", "")
        assert not ended.is_on
        wait_until(lambda: not rig.is_on(), "the output is off")
    else:
        wait_until(lambda: not _passes(rig.device), "the lease is over")
    assert refused(rig.device, "renew", make_lease(500))


def _passes(device: Device) -> bool:
    """Try a renewal that must be refused for its number as long as a lease is in force."""
    with pytest.raises(DeviceError, match="must be") as caught:
        device.renew(make_lease(1))
    return "in force" not in str(caught.value)


def test_renewals_keep_it_on(rig: Rig) -> None:
    start(rig)
    for number in range(2, 12):
        do(rig.device, "renew", make_lease(number, duration_s=2.0))
        assert rig.is_on()


def test_answers_never_wait(rig: Rig) -> None:
    assert rig.device.answers() == []
    rig.device.status()
    for _ in range(100):
        rig.device.answers()


def test_closing_switches_off_and_may_be_done_twice(rig: Rig) -> None:
    start(rig)
    rig.device.close()
    wait_until(lambda: not rig.is_on(), "the output is off")
    rig.device.close()
    assert rig.device.fileno() == -1
    assert rig.device.answers() == []
    with pytest.raises(DeviceError, match="must"):
        rig.device.arm()


def test_a_broken_wire_switches_off_and_is_told_once(rig: Rig) -> None:
    start(rig)
    rig.cut()
    (lost,) = wait_until(rig.device.answers, "lost")
    assert (lost.kind, lost.lease, lost.is_on) == ("lost", 0, False)
    assert lost.reason
    assert math.isnan(lost.delivered_uc)
    assert rig.device.answers() == []
    assert rig.device.fileno() == -1
    if rig.device.capabilities().acknowledges:
        wait_until(lambda: not rig.is_on(), "the output is off")
    rig.device.stop()
    with pytest.raises(DeviceError, match="must"):
        rig.device.start(make_lease(2))


def test_only_a_device_that_says_so_ends_leases_by_itself(rig: Rig) -> None:
    can = rig.device.capabilities()
    assert can.ends_by_itself == can.acknowledges  # none of the one-way rigs was opened with limits_itself
