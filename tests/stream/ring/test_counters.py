from __future__ import annotations

import math

import numpy as np
import pytest

from neuroloop.stream.contracts.shared_memory import Counters, CounterSpec
from neuroloop.stream.ring.counters import CounterBlock

SPECS = (
    CounterSpec("predictions", "count", size=3),
    CounterSpec("drift", "value"),
    CounterSpec("latency", "histogram", bounds=(0.001, 0.01, 0.1)),
)


def test_numbers_and_histograms_start_at_zero_and_add_up() -> None:
    with CounterBlock.private(SPECS) as block:
        predictions, drift, latency = block.numbers("predictions"), block.numbers("drift"), block.histogram("latency")
        before = block.snapshot()
        predictions[1] += 2
        drift[0] = 0.25
        for value in (0.0005, 0.001, 0.0011, 0.1, 7.0):
            latency.observe(value)
        after = block.snapshot()
        assert list(before.numbers["predictions"]) == [0, 0, 0]
        assert list(before.histograms["latency"].buckets) == [0, 0, 0, 0]
        assert list(after.numbers["predictions"]) == [0, 2, 0]
        assert list(after.numbers["drift"]) == [0.25]
        assert list(after.histograms["latency"].buckets) == [2, 1, 1, 1]
        assert after.histograms["latency"].total == pytest.approx(7.1026, rel=1e-12)  # five additions, rounded
        del predictions, drift, latency


def test_nan_is_counted_and_spoils_no_sum() -> None:
    with CounterBlock.private(SPECS) as block:
        block.histogram("latency").observe(math.nan)
        block.histogram("latency").observe(0.5)
        histogram = block.snapshot().histograms["latency"]
        assert (list(histogram.buckets), histogram.total) == ([0, 0, 0, 2], 0.5)


def test_every_array_has_cache_lines_of_its_own() -> None:
    with CounterBlock.shared(SPECS) as block:
        histogram = block.histogram("latency")
        arrays = [block.numbers("predictions"), block.numbers("drift"), histogram.buckets, histogram.total]
        assert all(array.ctypes.data % 64 == 0 for array in arrays)
        assert len({array.ctypes.data // 64 for array in arrays}) == 4
        assert [array.dtype for array in arrays] == [np.int64, np.float64, np.int64, np.float64]
        del histogram, arrays


def test_block_satisfies_the_seam_and_close_may_be_called_twice() -> None:
    block = CounterBlock.private(SPECS)
    assert isinstance(block, Counters)
    assert block.specs == SPECS
    block.close()
    block.close()


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ((), r"specs must have distinct names and at least one, got \[\]"),
        ((CounterSpec("a", "count"), CounterSpec("a", "value")), r"specs must have distinct names.* got \['a', 'a'\]"),
        ((CounterSpec("a", "count", size=0),), r"a.size must be at least 1, got 0"),
        ((CounterSpec("a", "histogram"),), r"a.bounds must ascend and have at least one, got \(\)"),
        ((CounterSpec("a", "histogram", bounds=(1.0, 1.0)),), r"a.bounds must ascend .* got \(1.0, 1.0\)"),
    ],
)
def test_wrong_specs_are_named(specs: tuple[CounterSpec, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CounterBlock.private(specs)
