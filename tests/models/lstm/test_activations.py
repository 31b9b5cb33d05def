from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import types, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.activations import exp, sigmoid, tanh

Float32Array = NDArray[np.float32]
Kernel = Callable[[Float32Array, Float32Array], None]
_IN = types.Array(types.float32, 1, "C", readonly=True)
_OUT = types.Array(types.float32, 1, "C")


@kernel(void(_IN, _OUT))
def tanh_into(x: Float32Array, out: Float32Array) -> None:
    """Write `tanh` of every element."""
    for i in range(x.shape[0]):
        out[i] = tanh(x[i])


@kernel(void(_IN, _OUT))
def sigmoid_into(x: Float32Array, out: Float32Array) -> None:
    """Write `sigmoid` of every element."""
    for i in range(x.shape[0]):
        out[i] = sigmoid(x[i])


@kernel(void(_IN, _OUT))
def exp_into(x: Float32Array, out: Float32Array) -> None:
    """Write `exp` of every element."""
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


def run(kernel: Kernel, x: Float32Array) -> Float32Array:
    out = np.empty_like(x)
    kernel(x, out)
    return out


def wide() -> Float32Array:
    """Values of every magnitude and both signs, and a fine grid where the functions bend."""
    magnitudes = np.geomspace(1e-38, 3e38, 200_001)
    grid = np.linspace(-20, 20, 1_000_001)
    return np.concatenate([magnitudes, -magnitudes, grid, [0.0, -0.0]]).astype(np.float32)


def test_tanh_is_within_half_a_millionth_and_never_beyond_one() -> None:
    x = wide()
    y = run(tanh_into, x)
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 3.5e-7
    assert np.abs(y).max() == 1.0


def test_tanh_keeps_small_numbers_to_a_few_ulp() -> None:
    x = np.geomspace(1e-30, 0.5, 100_001).astype(np.float32)
    y = run(tanh_into, x)
    exact = np.tanh(x.astype(np.float64))
    assert (np.abs(y - exact) / np.spacing(exact.astype(np.float32))).max() < 4


def test_sigmoid_is_within_a_quarter_of_a_millionth_and_never_outside_zero_to_one() -> None:
    x = wide()
    y = run(sigmoid_into, x)
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(y - exact).max() < 2.5e-7
    assert y.min() == 0.0
    assert y.max() == 1.0


def test_exp_is_within_one_ulp_over_its_whole_range() -> None:
    x = np.linspace(-87.33, 88.72, 2_000_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    error = np.abs(run(exp_into, x) - exact) / np.spacing(exact.astype(np.float32))
    assert error.max() < 1.0


def test_exp_saturates_at_the_smallest_normal_and_near_the_largest_number() -> None:
    low, high = run(exp_into, np.array([-1e30, 1e30], np.float32))
    assert 0 < low < 1.2e-38
    assert 3.4e38 < high < np.inf


@pytest.mark.parametrize(
    ("kernel", "at_minus_infinity", "at_infinity"),
    [(tanh_into, -1.0, 1.0), (sigmoid_into, 0.0, 1.0), (exp_into, 0.0, None)],
)
def test_infinities_saturate_and_nan_counts_as_the_lower_end(
    kernel: Kernel, at_minus_infinity: float, at_infinity: float | None
) -> None:
    low, high, nan = run(kernel, np.array([-np.inf, np.inf, np.nan], np.float32))
    assert low == pytest.approx(at_minus_infinity, abs=1e-37)
    assert nan == low
    assert np.isfinite(high)
    assert at_infinity is None or high == at_infinity


def test_values_at_zero_are_exact() -> None:
    zero = np.zeros(1, np.float32)
    assert [run(kernel, zero)[0] for kernel in (tanh_into, sigmoid_into, exp_into)] == [0.0, 0.5, 1.0]


def test_an_array_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="No matching definition"):
        tanh_into(np.zeros(3), np.zeros(3))  # type: ignore[arg-type]
