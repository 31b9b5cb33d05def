"""The latency benchmark works and its rows are sane; how fast it was is not judged here."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.distribution import LatencyRow, compare_latencies, percentiles
from benchmarks.live import against_bare, against_quiet, untrained
from benchmarks.sender import SCALE, pushed_ns
from benchmarks.session import bench_stream
from neuroloop.config.loading import load_config
from neuroloop.config.tree import ClassifierSettings, Config


def check_sane(row: LatencyRow, n_segments: int) -> None:
    """What holds on any machine: all samples counted, percentiles in order and above nothing."""
    assert row.n_segments == n_segments
    assert 0 < row.ours.p50_us <= row.ours.p99_us <= row.ours.p999_us < 60e6


def test_the_push_time_in_a_channel_is_exact() -> None:
    base_ns = 987_654_321_987
    moments = np.random.default_rng(2).integers(0, 2**45, 1000)
    np.testing.assert_array_equal(pushed_ns(moments.astype(np.float64) * SCALE, base_ns), moments + base_ns)


def test_equal_distributions_have_a_ratio_of_one_inside_its_interval() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = ([rng.integers(50_000, 150_000, 500) for _ in range(20)] for _ in range(2))
    row = compare_latencies("t", "c", ours, "p", theirs)
    for ratio in (row.ratio_p50, row.ratio_p99):
        assert ratio is not None
        assert ratio.low <= ratio.value <= ratio.high
        assert ratio.low < 1.0 < ratio.high


def test_a_slow_segment_widens_the_interval() -> None:
    rng = np.random.default_rng(4)
    steady = [rng.integers(90_000, 110_000, 500) for _ in range(20)]
    one_slow = [*steady[:-1], steady[-1] + 5_000_000]
    calm, shaken = (compare_latencies("t", "c", ours, "p", steady).ratio_p99 for ours in (steady, one_slow))
    assert calm is not None
    assert shaken is not None
    assert shaken.high - shaken.low > 10 * (calm.high - calm.low)


def test_percentiles_pool_all_segments() -> None:
    found = percentiles([np.arange(1000, 51_000, 1000), np.arange(51_000, 101_000, 1000)])
    assert found.p50_us == pytest.approx(50.5)


@pytest.mark.usefixtures("lsl_session")
def test_every_sample_of_both_loops_is_counted_and_decisions_leave(tmp_path) -> None:  # type: ignore[no-untyped-def]
    info = bench_stream(8, 250.0)
    bundle = ClassifierSettings(bundle=str(untrained(tmp_path / "bundle", info)))
    with_lstm = Config(name="lstm", source=load_config("monitor", []).source, classifier=bundle)
    both, out = against_bare(with_lstm, info, "LSTM", 3, 0.4)
    assert isinstance(both, LatencyRow)
    assert isinstance(out, LatencyRow)
    check_sane(both, 3)
    assert both.n_samples >= 3 * 100
    assert both.theirs is not None
    assert 0 < both.theirs.p50_us < 60e6
    check_sane(out, 3)
    assert 0 < out.n_samples < both.n_samples


@pytest.mark.usefixtures("lsl_session")
def test_readers_beside_the_loop_run_and_end() -> None:
    info = bench_stream(8, 250.0)
    (row,) = against_quiet(load_config("monitor", []), info, 2, 0.3)
    check_sane(row, 2)
    assert row.n_samples >= 2 * 75
