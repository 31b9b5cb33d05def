from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from neuroloop.processors.numerics import elementary

RNG = np.random.default_rng(20)
WIDE = RNG.uniform(-1e6, 1e6, 4000)
TURN = RNG.uniform(-7.0, 7.0, 4000)
NEAR_ZEROS = np.arange(1, 2000) * (math.pi / 2)
SMALL = np.ldexp(RNG.uniform(-1.0, 1.0, 1000), RNG.integers(-60, 0, 1000))
TRIG = np.concatenate([WIDE, TURN, NEAR_ZEROS, SMALL])
EXPONENTS = np.concatenate([RNG.uniform(-745.0, 709.7, 5000), RNG.uniform(-1.0, 1.0, 3000), SMALL])
POSITIVE = np.concatenate(
    [np.ldexp(RNG.uniform(0.5, 1.0, 5000), RNG.integers(-1070, 1024, 5000)), RNG.uniform(0.5, 2.0, 4000)]
)


@pytest.mark.parametrize(
    ("ours", "reference", "arguments", "ulps"),
    [
        (elementary.exp, math.exp, EXPONENTS, 1),
        (elementary.log, math.log, POSITIVE, 1),
        (elementary.sin, math.sin, TRIG, 1),
        (elementary.cos, math.cos, TRIG, 1),
        (elementary.tan, math.tan, TRIG, 3),
    ],
)
def test_agrees_with_the_math_library_within_ulps(
    ours: Callable[[float], float], reference: Callable[[float], float], arguments: np.ndarray, ulps: int
) -> None:
    # the library's own results are off by less than one ulp, ours by less than one (tan: two): together whole ulps
    for x in arguments.tolist():
        expected = reference(x)
        assert abs(ours(x) - expected) <= ulps * math.ulp(expected), x


@pytest.mark.parametrize(
    ("ours", "x", "expected"),
    [
        (elementary.exp, 0.0, 1.0),
        (elementary.exp, 710.0, math.inf),
        (elementary.exp, -746.0, 0.0),
        (elementary.exp, math.inf, math.inf),
        (elementary.exp, -math.inf, 0.0),
        (elementary.exp, -745.0, 5e-324),
        (elementary.log, 1.0, 0.0),
        (elementary.log, 0.0, -math.inf),
        (elementary.log, math.inf, math.inf),
        (elementary.log, 5e-324, -744.4400719213812),
        (elementary.sin, 0.0, 0.0),
        (elementary.cos, 0.0, 1.0),
        (elementary.tan, 0.0, 0.0),
    ],
)
def test_special_arguments_give_the_exact_result(ours: Callable[[float], float], x: float, expected: float) -> None:
    assert ours(x) == expected


@pytest.mark.parametrize(
    ("ours", "x"),
    [
        (elementary.exp, math.nan),
        (elementary.log, math.nan),
        (elementary.log, -1.0),
        (elementary.sin, math.inf),
        (elementary.cos, 1.1e6),
        (elementary.tan, math.nan),
    ],
)
def test_outside_the_domain_the_result_is_nan(ours: Callable[[float], float], x: float) -> None:
    assert math.isnan(ours(x))


def test_bits_are_the_ones_every_machine_must_give() -> None:
    # recorded once; a change of algorithm, compiler or processor that moves a bit shows here
    got = [
        f(x).hex()
        for f, x in zip(
            (elementary.exp, elementary.log, elementary.sin, elementary.cos, elementary.tan),
            (1.5, 10.1, 2.5, 1e5, 0.7),
            strict=True,
        )
    ]
    assert got == [
        "0x1.1ed3fe64fc541p+2",
        "0x1.2801292821f4cp+1",
        "0x1.326af0dcfcab0p-1",
        "-0x1.ffac3841b3da7p-1",
        "0x1.af406c2fc78adp-1",
    ]
