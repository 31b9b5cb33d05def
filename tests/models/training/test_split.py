from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.errors import RecordingError
from neuroloop.config.training import SplitSettings
from neuroloop.models.training.split import block_folds, final_fold, ids_hash

NUMBERS = st.lists(st.integers(1, 90), min_size=2, max_size=120)


@settings(max_examples=60)
@given(numbers=NUMBERS, block_size=st.integers(1, 30), stop_size=st.integers(1, 30))
def test_no_file_number_is_on_two_sides_of_any_fold(numbers: list[int], block_size: int, stop_size: int) -> None:
    array = np.array(numbers, np.int64)
    chosen = SplitSettings(block_size=block_size, stop_size=stop_size)
    folds = [final_fold(array, chosen)]
    if len({(number - 1) // block_size for number in numbers}) > 1:
        folds += block_folds(array, chosen)
    for fold in folds:
        np.testing.assert_array_equal(fold.train.astype(int) + fold.stop + fold.test, 1)
        sides = [set(array[side]) for side in (fold.train, fold.stop, fold.test)]
        for one, other in combinations(sides, 2):
            assert not one & other
        assert len(sides[1]) >= 1


def test_every_number_is_tested_exactly_once() -> None:
    numbers = np.repeat(np.arange(1, 81), 3)
    folds = block_folds(numbers, SplitSettings())
    assert [fold.label for fold in folds] == ["1-20", "21-40", "41-60", "61-80"]
    assert [fold.stop_label for fold in folds] == ["21-30", "41-50", "61-70", "1-10"]
    np.testing.assert_array_equal(np.sum([fold.test for fold in folds], axis=0), 1)
    for fold, first in zip(folds, (1, 21, 41, 61), strict=True):
        assert sorted(set(numbers[fold.test])) == list(range(first, first + 20))


def test_holes_in_the_numbering_leave_the_blocks_where_they_are() -> None:
    numbers = np.array([2, 3, 45, 46, 58])
    folds = block_folds(numbers, SplitSettings())
    assert [(fold.label, numbers[fold.test].tolist()) for fold in folds] == [("1-20", [2, 3]), ("41-60", [45, 46, 58])]
    assert [numbers[fold.stop].tolist() for fold in folds] == [[45, 46], [2, 3]]


def test_the_final_fold_tests_nothing() -> None:
    numbers = np.arange(1, 81)
    fold = final_fold(numbers, SplitSettings())
    assert not fold.test.any()
    assert numbers[fold.stop].tolist() == list(range(1, 11))
    assert (fold.label, fold.stop_label) == ("none", "1-10")


def test_one_block_is_too_few() -> None:
    with pytest.raises(RecordingError, match=r"data must have recordings in at least 2 blocks of 20, got 1"):
        block_folds(np.arange(1, 20), SplitSettings())


def test_ids_hash_ignores_the_order_only() -> None:
    assert ids_hash(["a", "b"]) == ids_hash(["b", "a"])
    assert ids_hash(["a", "b"]) != ids_hash(["a", "c"])
