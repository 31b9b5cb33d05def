"""What does not fit into a snapshot is refused before a worker runs."""

from __future__ import annotations

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import parse
from neuroloop.stream.assembly.build import build
from neuroloop.stream.cli.main import main
from neuroloop.stream.worker.snapshot_size import plan_snapshot
from tests.stream.worker.streams import stream_info

WIDE = {
    "name": "wide",
    "source": {"kind": "lsl"},
    "stages": [{"kind": "bandpower", "name": "power", "window_s": 1.0, "hop_s": 0.05, "bands": {"alpha": [8, 13]}}],
    "worker": {},
}


def test_large_windows_are_left_out_and_filled_again() -> None:
    info = stream_info(channels=[f"E{k}" for k in range(64)], sfreq=1000.0)
    config = parse(dict(WIDE))
    plan = plan_snapshot(config, build(config, info).pipeline)
    assert plan["bytes"] < 400_000
    assert plan["refill_s"] == pytest.approx(2.1)


def test_small_windows_are_kept_whole() -> None:
    config = parse(dict(WIDE))
    plan = plan_snapshot(config, build(config, stream_info()).pipeline)
    assert plan["refill_s"] == 0.0


def test_state_that_does_not_fit_is_refused_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "demo", "--set", "worker.snapshot_kb=16"]) == 1
    err = capsys.readouterr().err
    assert "worker.snapshot_kb must be at least" in err
    assert "got 16" in err
    assert main(["check", "demo", "--set", "worker.snapshot_kb=900"]) == 0
    assert "worker: a snapshot of at most" in capsys.readouterr().out


def test_state_beyond_any_message_is_refused() -> None:
    config = parse({**WIDE, "worker": {"snapshot_kb": 100}})
    info = stream_info(channels=[f"E{k}" for k in range(512)], sfreq=2000.0)
    with pytest.raises(ConfigError, match=r"worker\.snapshot_kb must be at least \d+, the state of stream 'eeg'"):
        plan_snapshot(config, build(config, info).pipeline)
