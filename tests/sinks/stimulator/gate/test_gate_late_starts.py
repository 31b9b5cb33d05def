"""A start that waits for the disk, when nothing is to be given any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sinks.stimulator.rig import CAPABILITIES, Rig, row, settings, setup_of


@pytest.mark.parametrize("acknowledges", [True, False])
def test_a_soft_disarm_withdraws_a_start_that_waits_for_the_disk(*, acknowledges: bool) -> None:
    capabilities = replace(CAPABILITIES, acknowledges=acknowledges)
    rig = Rig(setup_of(settings((row(),), gate={"hold_off_s": 0.5, "ramp_s": 1.0}), capabilities=capabilities))
    rig.link.drops_answers = not acknowledges
    rig.arm()
    rig.link.disk_ns = 400_000_000
    rig.decide("alpha")
    rig.move(0.1)
    rig.decide("alpha")
    assert "start" in rig.actions()
    rig.move(0.1)
    assert not rig.model.is_on
    rig.operator("disarm")
    rig.move(2.0)
    assert rig.intervals == []
