"""Latency histograms: exact books, bounded error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.stream.live.latency_table import N_BUCKETS, DurationLog, LatencyTable, bucket_of, bucket_upper


@given(st.integers(0, 2**44))
def test_a_bucket_holds_its_duration_within_two_percent(nanoseconds: int) -> None:
    bucket = bucket_of(nanoseconds)
    upper = bucket_upper(bucket)
    lower = bucket_upper(bucket - 1) + 1 if bucket else 0
    assert lower <= nanoseconds <= upper
    assert upper - lower <= max(0, nanoseconds / 64)


def test_longer_durations_stay_in_the_last_bucket() -> None:
    assert bucket_of(2**60) == N_BUCKETS - 1


def test_percentiles_agree_with_numpy_within_a_bucket() -> None:
    durations = np.random.default_rng(0).lognormal(11, 1, 5000).astype(np.int64)
    table = LatencyTable(["loop", "empty"])
    for nanoseconds in durations.tolist():
        table.add(0, nanoseconds)
    summary = table.summary()
    assert set(summary) == {"loop"}
    row = summary["loop"]
    assert row["n"] == 5000
    assert row["max_us"] == durations.max() / 1000
    for name in ("p50", "p95", "p99", "p99.9"):
        exact = np.percentile(durations, float(name[1:]), method="inverted_cdf") / 1000
        assert row[f"{name}_us"] == pytest.approx(exact, rel=0.02)


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="counts must have shape"):
        LatencyTable(["loop"], np.zeros((1, 3), np.int64))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 2**60)), max_size=30), st.integers(1, 7))
def test_noted_durations_are_counted_as_if_added_at_once(durations: list[tuple[int, int]], capacity: int) -> None:
    at_once, later = LatencyTable("abcd"), LatencyTable("abcd")
    log = DurationLog(later, first_row=1, capacity=capacity)
    for row, nanoseconds in durations:
        at_once.add(row + 1, nanoseconds)
        log.add(row, nanoseconds)
    log.flush()
    np.testing.assert_array_equal(later.counts, at_once.counts)
    np.testing.assert_array_equal(later.largest, at_once.largest)
