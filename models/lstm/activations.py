"""Own float32 tanh, sigmoid and exp: the same bits on every x86-64 CPU.

NumPy's and libm's versions choose their code by CPU features. These use IEEE ``+ * /``, the exact fused
multiply-add and comparisons in a fixed order only. They are finite for any input, infinities and NaN included
(NaN counts as the lower end of the range), and saturate at the ends.

=========  =====================================================  =======================================
function   method                                                 largest error against float64, measured
=========  =====================================================  =======================================
tanh       ``x * P(x^2) / Q(x^2)``, degrees 4 and 4, |x| <= 9      3.3e-7 absolute
sigmoid    ``0.5 + 0.5 * tanh(x / 2)``                            2.0e-7 absolute
exp        ``2^n * polynomial(x - n ln 2)``, degree 7              1 ulp for -87.3 <= x <= 88.7
=========  =====================================================  =======================================

The coefficients of tanh were fitted here (weighted linearised least squares, relative error 2e-8 before rounding to
float32), those of exp are the Taylor series, whose truncation at |r| <= ln(2) / 2 is 6e-9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.simd32 import add, clamp, div, fma, mul

Float32Array = NDArray[np.float32]


@intrinsic
def _power_of_two(typingctx: Any, n: Any) -> Any:
    """Return ``2**n`` for an integral float32 ``n`` in [-126, 127], by writing its exponent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = builder.fptosi(args[0], ir.IntType(32))
        biased = builder.add(integer, ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.float32), codegen


@kernel(inline=True)
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of a float32 or of lanes; within [-1, 1]."""
    y = clamp(x, -9.0, 9.0)
    u = mul(y, y)
    p = fma(u, 1.3353204775e-08, 2.0608047316e-05)
    p = fma(p, u, 3.4955268751e-03)
    p = fma(p, u, 1.3380974970e-01)
    p = fma(p, u, 0.99999997964)
    q = fma(u, 7.7759654737e-07, 3.2855332804e-04)
    q = fma(q, u, 2.5876751758e-02)
    q = fma(q, u, 4.6714290638e-01)
    q = fma(q, u, 1.0)
    return clamp(div(mul(y, p), q), -1.0, 1.0)


@kernel(inline=True)
def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))`` of a float32 or of lanes; within [0, 1]."""
    return fma(tanh(mul(x, 0.5)), 0.5, 0.5)


@kernel(inline=True)
def exp(x: Any) -> Any:
    """Return the exponential of a float32; below -87.33 it is held at 1.2e-38, above 88.72 at 3.4e38."""
    y = clamp(x, -87.33654, 88.72283)
    # adding and taking away 1.5 * 2**23 rounds to the nearest integer; n is 128 at most, so 2**n is made in halves
    n = add(fma(y, 1.44269504, 12582912.0), -12582912.0)
    r = fma(n, -0.693359375, y)
    r = fma(n, 2.12194440e-4, r)
    p = fma(r, 1.0 / 5040.0, 1.0 / 720.0)
    p = fma(p, r, 1.0 / 120.0)
    p = fma(p, r, 1.0 / 24.0)
    p = fma(p, r, 1.0 / 6.0)
    p = fma(p, r, 0.5)
    p = fma(p, r, 1.0)
    p = fma(p, r, 1.0)
    low = clamp(n, -126.0, 127.0)
    return mul(mul(p, _power_of_two(low)), _power_of_two(add(n, mul(low, -1.0))))
