"""A device that says that it delivered three times what it was told, at several rates of pulses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuroloop.sinks.stimulator.records import DeviceAnswer, GateOutput
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of

PER_LEASE = "the bound allows one pulse more for every lease, and a lease of half a second is renewed at half"


class Generous(Rig):
    """Its device names three times what it gave."""

    def answer(self, one: DeviceAnswer) -> list[GateOutput]:
        return super().answer(replace(one, delivered_uc=3.0 * one.delivered_uc))


def _rate(hz: float, *marks: Any) -> Any:
    return pytest.param(hz, marks=marks, id=f"{hz:g} Hz")


@pytest.mark.parametrize("hz", [_rate(1.0, pytest.mark.xfail(reason=PER_LEASE)), _rate(5.0), _rate(130.0)])
def test_three_times_too_much_is_a_fault_within_thirty_seconds(hz: float) -> None:
    rig = Generous(setup_of(settings((row(frequency_hz=hz, duration_s=60.0),), gate={"hold_off_s": 0.5})))
    rig.arm()
    rig.stay("alpha", 31)
    tripped = [one.values["interlock"] for one in rig.all("note") if one.values["what"] == "tripped"]
    assert "device_excess" in tripped
    assert rig.at() == "FAULT"
