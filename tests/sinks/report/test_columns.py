"""Decimation: pictures do not grow, extremes survive."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.sinks.report.columns import covered, dominant, min_max


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 500), n_columns=st.integers(1, 60))
def test_every_column_keeps_its_extremes(seed: int, n: int, n_columns: int) -> None:
    rng = np.random.default_rng(seed)
    position = np.sort(rng.uniform(-1, 11, n))
    value = np.where(rng.random(n) < 0.1, np.nan, rng.standard_normal(n))
    band = min_max(position, value, 0.0, 10.0, n_columns)
    assert len(band.column) <= n_columns
    for column in range(n_columns):
        mine = (np.floor(position / 10 * n_columns) == column) & np.isfinite(value)
        place = np.flatnonzero(band.column == column)
        assert len(place) == bool(mine.any())
        if mine.any():
            assert (band.low[place[0]], band.high[place[0]]) == (value[mine].min(), value[mine].max())
            np.testing.assert_allclose(band.mean[place[0]], value[mine].mean(), rtol=1e-9, atol=1e-12)
    assert band.is_crowded is (band.n_values > 3 * len(band.column))


def test_stretches_become_runs_of_columns() -> None:
    starts, stops = np.array([0.0, 2.0, 2.5, 9.99, 30.0]), np.array([0.0, 3.0, 4.0, 12.0, 31.0])
    assert covered(starts, stops, 0.0, 10.0, 10) == [(0, 0), (2, 3), (9, 9)]
    assert covered(np.empty(0), np.empty(0), 0.0, 10.0, 10) == []
    many = np.linspace(0, 10, 100_000)
    assert covered(many, many, 0.0, 10.0, 50) == [(0, 49)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 60))
def test_a_column_shows_the_state_that_holds_longest_in_it(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    starts, kinds = np.sort(rng.uniform(0, 10, n)), rng.integers(0, 3, n)
    runs = dominant(starts, kinds, 10.0, 0.0, 10.0, 20)
    shown = np.full(20, -1)
    for column, kind in runs:
        shown[column:] = kind
    fine = np.linspace(0, 10, 20 * 400, endpoint=False) + 10 / 16000
    state = np.where(np.searchsorted(starts, fine, side="right") > 0, 0, -1)
    if n:
        state = np.where(state < 0, -1, kinds[np.maximum(np.searchsorted(starts, fine, side="right") - 1, 0)])
    for column, kind in enumerate(shown):
        part = state[column * 400 : (column + 1) * 400]
        counts = [int(np.count_nonzero(part == k)) for k in range(3)]
        if kind < 0:
            assert max(counts) <= 2
        else:
            assert counts[kind] >= max(counts) - 3
