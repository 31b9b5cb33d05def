"""A minute of 32 channels at 1 kHz: nothing lost, nothing grows."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.integration.live import (
    FINDING,
    PATIENCE_S,
    SHARING,
    Start,
    canonical_lines,
    metrics_port,
    scrape,
    summary_of,
    wait_for_lines,
)
from tests.integration.lsl import wait_until
from tests.integration.playing import Play, simulated

pytestmark = [pytest.mark.usefixtures("lsl_session"), pytest.mark.slow]

MIB = 1 << 20
CONFIG = """\
name: minute
markers: {enabled: false}
stages:
  - kind: filter
    designs: [{kind: bandpass, low_hz: 1, high_hz: 40}]
  - {kind: bandpower, window_s: 1.0, hop_s: 0.05, bands: {alpha: [8, 13], beta: [13, 30]}}
outlets: {taps: [bandpower]}
process: {ring_s: 20}
"""


def test_a_minute_of_32_channels_at_1_khz_loses_nothing_and_grows_by_nothing(
    start: Start, play: Play, tmp_path: Path
) -> None:
    config, run = tmp_path / "minute.yaml", tmp_path / "run"
    config.write_text(CONFIG, encoding="utf-8")
    feed = simulated(60.0, n_channels=32, sfreq=1000)
    player = play(feed, name="minute", chunk_samples=16, speed=4.0)
    live = start("run", config, "--out", run, "--metrics-port", 0, "--set", "source.name=minute", *SHARING, *FINDING)
    processes: list[psutil.Process] = [live.child("hot"), live.child("cold")]
    wait_for_lines(run, 1)
    port = metrics_port(live)

    def has_processed(n: int) -> bool:
        (family,) = (one for one in parse_text(scrape(port)) if one.name == "neuroloop_samples_processed")
        return family.samples[0].value >= n

    wait_until(lambda: has_processed(25_000), "rings, buffers and caches touched", PATIENCE_S)
    begin = [process.memory_info().rss for process in processes]
    wait_until(lambda: has_processed(55_000), "half a minute more", PATIENCE_S)
    growth = [process.memory_info().rss - before for process, before in zip(processes, begin, strict=True)]
    assert max(growth) < 3 * MIB, [one / MIB for one in growth]
    live.ends_well()
    player.ends_well()
    summary = summary_of(run)
    assert summary["samples"]["in"] == summary["samples"]["processed"] == 60_000
    assert summary["samples"]["missing"] == {"filled": 0, "jumped": 0}
    assert summary["rings"] == {"samples_lost": 0, "events_lost": 0}
    assert len(canonical_lines(run)) == summary["events"]["stream"] == 1
