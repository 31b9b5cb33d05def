"""Kernels called without the dispatcher: the same result, and what is still checked."""

import numpy as np
import pytest
from numba import float64, types, void

from neuroloop.config.kernels import direct, kernel
from neuroloop.stream.contracts.chunks import FloatArray

_IN = types.Array(float64, 2, "C", readonly=True)


@kernel(void(_IN, float64[:, ::1]))
def _double(x: FloatArray, out: FloatArray) -> None:
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = 2.0 * x[i, c]


@kernel(float64(float64), types.int64(types.int64))
def _two(x: float) -> float:
    return x + x


def test_a_direct_call_gives_the_same_with_read_only_input() -> None:
    x = np.arange(6.0).reshape(2, 3)
    x.setflags(write=False)
    usual, directly = np.empty((2, 3)), np.empty((2, 3))
    _double(x, usual)
    direct(_double)(x, directly)
    np.testing.assert_array_equal(directly, usual)


def test_a_direct_call_refuses_items_of_another_size() -> None:
    with pytest.raises(TypeError, match="can't unbox array"):
        direct(_double)(np.zeros((2, 3), np.float32), np.empty((2, 3)))


def test_a_kernel_of_two_signatures_has_no_direct_call() -> None:
    with pytest.raises(ValueError, match="compiled must have one signature, got 2"):
        direct(_two)
