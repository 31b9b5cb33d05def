from __future__ import annotations

import numpy as np

from neuroloop.stream.sources.lsl.stamps import restore, sendable


def test_stamps_with_a_meaning_to_liblsl_are_replaced_and_come_back() -> None:
    stamps = np.array([-2.0, -1.0, 0.0, 0.004, 1e9, np.nan])
    sent = sendable(stamps)
    assert not np.isin([0.0, -1.0], sent).any()
    np.testing.assert_array_equal(stamps[:3], [-2.0, -1.0, 0.0])
    restored = sent.copy()
    restore(restored)
    np.testing.assert_array_equal(restored, stamps)


def test_ordinary_stamps_are_handed_through_without_a_copy() -> None:
    stamps = np.array([1.0, 2.0])
    assert sendable(stamps) is stamps


def test_no_stamps_are_no_problem() -> None:
    empty = np.empty(0)
    restore(empty)
    assert sendable(empty) is empty
