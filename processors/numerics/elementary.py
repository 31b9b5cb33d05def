"""Exponential, logarithm and circular functions that give the same bits on every x86-64 processor.

NumPy's and libm's versions pick their code by processor features and differ in the last bit between machines. These
use IEEE addition, subtraction, multiplication, division and bit patterns only, in a fixed order, without fused
multiply-add. The approximations are the minimax polynomials of fdlibm [1]_, the range reduction for the circular
functions is Cody and Waite's [2]_ with an exact error term. Largest errors measured
against 200-bit arithmetic over 120,000 arguments each, from the whole domain and its critical places: ``exp`` 0.85 ulp,
``log`` 0.78, ``sin`` 0.74, ``cos`` 0.74, ``tan`` 1.97.

Every function may be called from Python and from kernels.

References
----------
.. [1] Sun Microsystems, fdlibm 5.3, 1993 (e_exp.c, e_log.c, k_sin.c, k_cos.c).
.. [2] Cody and Waite, Software Manual for the Elementary Functions, Prentice-Hall, 1980.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float64, int64
from numba.extending import intrinsic

from neuroloop.config.kernels import kernel

INFINITY = float("inf")
NAN = float("nan")
PI = 3.141592653589793
TINY = 2.2250738585072014e-308
"""The smallest normal number."""
TRIG_LIMIT = 1.0e6
"""``sin``, ``cos`` and ``tan`` give NaN for larger magnitudes: 20 bits of quadrant keep the reduction exact."""

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_INVERSE_LN2 = 1.44269504088896338700e00
_TWO_OVER_PI = 6.36619772367581382433e-01
_HALF_PI_1 = 1.57079632673412561417e00  # the first 33 bits of pi/2
_HALF_PI_2 = 6.07710050630396597660e-11  # the next 33
_HALF_PI_2_TAIL = 2.02226624879595063154e-21  # and 53 more
_SQRT2_FRACTION = 0x6A09E667F3BCC
_FRACTION = 0xFFFFFFFFFFFFF
_TWO_54 = 18014398509481984.0
_EXP_MAX = 7.09782712893383973096e02
_EXP_MIN = -7.45133219101941108420e02


@intrinsic
def _to_bits(typingctx: Any, x: Any) -> Any:
    """Reinterpret a double as a 64-bit integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return int64(float64), codegen


@intrinsic
def _from_bits(typingctx: Any, bits: Any) -> Any:
    """Reinterpret a 64-bit integer as a double."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return float64(int64), codegen


@kernel(float64(int64))
def _power_of_two(exponent: int) -> float:
    """Return 2**exponent for -1022 <= exponent <= 1023."""
    return float(_from_bits((exponent + 1023) << 52))


@kernel(float64(float64))
def exp(x: float) -> float:
    """Return e**x; subnormal results are rounded once, too large arguments give infinity."""
    if not abs(x) <= INFINITY:
        return x
    if x > _EXP_MAX:
        return INFINITY
    if x < _EXP_MIN:
        return 0.0
    scaled = x * _INVERSE_LN2
    n = int(scaled + 0.5) if scaled >= 0.0 else int(scaled - 0.5)
    high = x - n * _LN2_HIGH
    low = n * _LN2_LOW
    r = high - low
    t = r * r
    p = -1.65339022054652515390e-06 + t * 4.13813679705723846039e-08
    p = -2.77777777770155933842e-03 + t * (6.61375632143793436117e-05 + t * p)
    c = r - t * (1.66666666666666019037e-01 + t * p)
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    if n > 1023:
        return y * 2.0 * _power_of_two(n - 1)
    if n < -1021:
        return y * _power_of_two(n + 1000) * _power_of_two(-1000)
    return y * _power_of_two(n)


@kernel(float64(float64))
def log(x: float) -> float:
    """Return the natural logarithm; minus infinity at 0, NaN below."""
    if not x >= 0.0:
        return NAN
    if x == 0.0:
        return -INFINITY
    if x == INFINITY:
        return x
    n = 0
    if x < TINY:
        x = x * _TWO_54
        n = -54
    bits = _to_bits(x)
    n += (bits >> 52) - 1023
    fraction = bits & _FRACTION
    if fraction > _SQRT2_FRACTION:
        n += 1
        m = _from_bits(fraction | (1022 << 52))
    else:
        m = _from_bits(fraction | (1023 << 52))
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = 1.818357216161805012e-01 + w * 1.479819860511658591e-01
    odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * odd))
    half_square = 0.5 * f * f
    return float(n * _LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + n * _LN2_LOW)) - f))


@kernel(inline=True)
def _quadrant(x: float) -> int:
    """Return the multiple of pi/2 nearest to x."""
    scaled = x * _TWO_OVER_PI
    return int(scaled + 0.5) if scaled >= 0.0 else int(scaled - 0.5)


@kernel(inline=True)
def _reduced(x: float, n: int) -> tuple[float, float]:
    """Return x - n*pi/2 as an unevaluated sum of two doubles."""
    a = x - n * _HALF_PI_1  # exact: n has 20 bits, the constant 33
    b = -(n * _HALF_PI_2)
    s = a + b
    b_part = s - a
    error = (a - (s - b_part)) + (b - b_part)
    low = error - n * _HALF_PI_2_TAIL
    high = s + low
    return high, (s - high) + low


@kernel(inline=True)
def _sin_small(x: float, tail: float) -> float:
    """Return sin(x + tail) for magnitudes up to pi/4."""
    z = x * x
    v = z * x
    r = 2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    r = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * r)
    return x - ((z * (0.5 * tail - v * r) - tail) - v * -1.66666666666666324348e-01)


@kernel(inline=True)
def _cos_small(x: float, tail: float) -> float:
    """Return cos(x + tail) for magnitudes up to pi/4."""
    z = x * x
    r = -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    r = 4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 + z * r))
    half = 0.5 * z
    w = 1.0 - half
    return w + (((1.0 - w) - half) + (z * (z * r) - x * tail))


@kernel(float64(float64))
def sin(x: float) -> float:
    """Return the sine; NaN beyond `TRIG_LIMIT`."""
    if not abs(x) <= TRIG_LIMIT:
        return NAN
    n = _quadrant(x)
    high, low = _reduced(x, n)
    y = _cos_small(high, low) if n & 1 else _sin_small(high, low)
    return -y if n & 2 else y


@kernel(float64(float64))
def cos(x: float) -> float:
    """Return the cosine; NaN beyond `TRIG_LIMIT`."""
    if not abs(x) <= TRIG_LIMIT:
        return NAN
    n = _quadrant(x)
    high, low = _reduced(x, n)
    y = _sin_small(high, low) if n & 1 else _cos_small(high, low)
    return -y if (n + 1) & 2 else y


@kernel(float64(float64))
def tan(x: float) -> float:
    """Return the tangent as a quotient of sine and cosine; NaN beyond `TRIG_LIMIT`."""
    if not abs(x) <= TRIG_LIMIT:
        return NAN
    n = _quadrant(x)
    high, low = _reduced(x, n)
    s = _sin_small(high, low)
    c = _cos_small(high, low)
    return -c / s if n & 1 else s / c
