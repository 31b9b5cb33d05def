import numpy as np

from neuroloop.stream.contracts.chunks import RawBlock


def test_rows_of_a_block_are_views_of_all_that_it_has() -> None:
    flags = np.arange(10) % 3 > 0
    block = RawBlock(np.arange(20.0).reshape(10, 2), np.arange(10.0), np.arange(100, 110), flags)
    part = block.rows(3, 7)
    for whole, some in zip(block, part, strict=True):
        assert whole is not None
        assert some is not None
        assert np.array_equal(some, whole[3:7])
        assert np.shares_memory(some, whole)


def test_rows_without_an_end_are_all_the_rest_and_what_is_absent_stays_so() -> None:
    rest = RawBlock(np.zeros((10, 2)), np.arange(10.0)).rows(8)
    assert rest.timestamps.tolist() == [8.0, 9.0]
    assert (rest.data.shape, rest.sample_numbers, rest.valid) == ((2, 2), None, None)
