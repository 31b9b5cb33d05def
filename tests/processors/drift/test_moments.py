"""Rolling mean and standard deviation: against NumPy, at the edges of float64, under any cutting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.processors.drift.moments import COUNT, LOG_STD, MEAN, STD, RollingMoments
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

HOP, N_BLOCKS = 10, 4
WINDOW = HOP * N_BLOCKS


def windows(
    x: FloatArray,
    *,
    first: int = 0,
    valid: BoolArray | None = None,
    cuts: Sequence[int] = (),
    made: RollingMoments | None = None,
) -> dict[int, FloatArray]:
    """Return all windows by the block they end with; the mean absolute."""
    valid = np.ones(len(x), np.bool_) if valid is None else valid
    made = made or RollingMoments(x.shape[1], hop=HOP, n_blocks=N_BLOCKS)
    found = {}
    for a, b in itertools.pairwise([0, *sorted(cuts), len(x)]):
        data, flags, row = np.ascontiguousarray(x[a:b]), valid[a:b], 0
        while row < b - a:
            row = made.add(data, flags, first + a, row)
            if (first + a + row) % HOP == 0:
                block = (first + a + row) // HOP - 1
                window = made.window(block).copy()
                window[MEAN] += made.anchor
                found[block] = window
    return found


@pytest.mark.parametrize("first", [0, 3, 10, 1007])
def test_windows_equal_numpy(first: int) -> None:
    x = np.random.default_rng(first).standard_normal((300, 3)) * [1.0, 20.0, 0.01] + [0.0, 500.0, -3.0]
    for block, window in windows(x, first=first).items():
        stop = (block + 1) * HOP - first
        rows = x[max(0, stop - WINDOW) : stop]
        np.testing.assert_array_equal(window[COUNT], len(rows))
        np.testing.assert_allclose(window[MEAN], rows.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(window[STD], rows.std(axis=0), rtol=1e-11)
        np.testing.assert_allclose(window[LOG_STD], np.log(rows.std(axis=0)), rtol=1e-11, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 300)), seed=st.integers(0, 2**32 - 1), first=st.integers(0, 50))
def test_windows_do_not_depend_on_chunking(cuts: list[int], seed: int, first: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((300, 3)) + 1e6
    x[rng.random((300, 3)) < 0.05] = np.nan
    valid = rng.random(300) > 0.1
    whole = windows(x, first=first, valid=valid)
    cut = windows(x, first=first, valid=valid, cuts=cuts)
    assert whole.keys() == cut.keys()
    for block, window in whole.items():
        assert window.tobytes() == cut[block].tobytes()


@settings(max_examples=20, deadline=None)
@given(stop=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_going_on_from_a_state_equals_never_having_stopped(stop: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((200, 2))
    first = RollingMoments(2, hop=HOP, n_blocks=N_BLOCKS)
    windows(x[:stop], made=first)
    second = RollingMoments(2, hop=HOP, n_blocks=N_BLOCKS)
    second.set_state(first.get_state())
    a, b = (windows(x[stop:], first=stop, made=one) for one in (first, second))
    assert [window.tobytes() for window in a.values()] == [window.tobytes() for window in b.values()]


def test_an_offset_of_a_billion_costs_no_digits() -> None:
    x = np.random.default_rng(1).integers(-512, 512, (400, 2)) / 64.0
    for block, window in windows(x + 1e9).items():
        rows = x[max(0, (block + 1) * HOP - WINDOW) : (block + 1) * HOP]
        np.testing.assert_allclose(window[STD], rows.std(axis=0), rtol=1e-12)


def test_a_jump_of_a_billion_is_forgotten_with_its_window() -> None:
    x = np.random.default_rng(2).integers(-512, 512, (400, 1)) / 64.0
    moved = x.copy()
    moved[205:] += 1e9
    after = windows(moved)
    for block in range(20 + N_BLOCKS, 40):
        rows = x[(block + 1) * HOP - WINDOW : (block + 1) * HOP]
        # block means are kept relative to the anchor, which is now a billion away: 1e-7 of a sample
        np.testing.assert_allclose(after[block][STD], rows.std(axis=0), rtol=1e-7)


def test_a_constant_has_no_deviation_at_all() -> None:
    for window in windows(np.full((100, 2), 0.1)).values():
        np.testing.assert_array_equal(window[STD], 0.0)
        np.testing.assert_allclose(window[MEAN], 0.1, rtol=1e-15)


def test_denormal_values_keep_their_mean() -> None:
    x = np.full((100, 1), 5e-324 * 1000)
    for window in windows(x).values():
        assert window[MEAN, 0] == x[0, 0]
        assert window[STD, 0] == 0.0


def test_what_is_flagged_or_not_finite_is_left_out_per_channel() -> None:
    x = np.random.default_rng(3).standard_normal((40, 3))
    x[5:30, 0] = np.nan
    x[7, 1] = np.inf
    x[8, 1] = 1e200
    valid = np.ones(40, np.bool_)
    valid[0:3] = False
    window = windows(x, valid=valid)[3]
    good = np.isfinite(x) & valid[:, None] & (np.abs(x) < 1e100)
    np.testing.assert_array_equal(window[COUNT], good.sum(axis=0))
    for c in range(3):
        np.testing.assert_allclose(window[MEAN, c], x[good[:, c], c].mean(), rtol=1e-12)
        np.testing.assert_allclose(window[STD, c], x[good[:, c], c].std(), rtol=1e-12)


def test_a_block_that_begins_with_a_gap_has_the_shift_of_its_first_good_row() -> None:
    x = np.random.default_rng(4).integers(-512, 512, (40, 1)) / 64.0
    valid = np.ones(40, np.bool_)
    valid[:9] = False
    window = windows(x + 1e9, valid=valid)[3]
    np.testing.assert_allclose(window[STD], x[9:].std(), rtol=1e-12)


def test_a_window_longer_than_the_data_counts_what_there_is() -> None:
    window = windows(np.ones((10, 1)))[0]
    assert window[COUNT, 0] == 10


def test_a_reset_forgets_rows_and_keeps_the_anchor() -> None:
    made = RollingMoments(1, hop=HOP, n_blocks=N_BLOCKS)
    windows(np.full((40, 1), 3.0), made=made)
    made.reset()
    assert made.anchor[0] == 3.0
    assert windows(np.full((10, 1), 4.0), first=1000, made=made)[100][COUNT, 0] == 10


@pytest.mark.parametrize("field", ["n_channels", "hop", "n_blocks"])
def test_a_size_below_one_is_refused(field: str) -> None:
    sizes = {"n_channels": 1, "hop": 1, "n_blocks": 1, field: 0}
    n_channels, hop, n_blocks = sizes.values()
    with pytest.raises(ValueError, match=rf"{field} must be at least 1, got 0"):
        RollingMoments(n_channels, hop=hop, n_blocks=n_blocks)
