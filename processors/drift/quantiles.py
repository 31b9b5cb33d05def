"""Tail quantiles that are the same bits on every processor; scipy's depend on libm.

The tail of Student's distribution is the regularised incomplete beta function by its continued fraction (modified Lentz
[1]_), the quantile a bisection of it. The normal distribution is Student's with ``NORMAL`` degrees of freedom.

References
----------
.. [1] Press et al., Numerical Recipes, 3rd ed., section 6.4, Cambridge, 2007.
"""

from __future__ import annotations

from neuroloop.processors.numerics.elementary import exp, log

NORMAL = 1e6
"""Degrees of freedom that count as infinitely many: the quantile at 1e-9 is then 1e-5 too large."""
_LN_2PI = 1.8378770664093453
_TERMS = 2000
_SMALL = 1e-300


def log_gamma(x: float) -> float:
    """Return the logarithm of the gamma function for ``x > 0``, by Stirling's series above 10."""
    down = 0.0
    while x < 10.0:
        down += log(x)
        x += 1.0
    r = 1.0 / (x * x)
    series = 1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r * (1.0 / 1188.0))))
    return (x - 0.5) * log(x) - x + 0.5 * _LN_2PI + series / x - down


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function for ``0 < x < 1``."""
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log(1.0 - x)) / a
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _SMALL else _SMALL)
    fraction = d
    for m in range(1, _TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > _SMALL else _SMALL)
            c = 1.0 + numerator / c
            c = c if abs(c) > _SMALL else _SMALL
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction


def student_tail(t: float, dof: float) -> float:
    """Return the probability that Student's t exceeds ``t >= 0``."""
    if t <= 0.0:
        return 0.5
    return 0.5 * _incomplete_beta(0.5 * dof, 0.5, dof / (dof + t * t))


def student_quantile(tail: float, dof: float) -> float:
    """Return the value that Student's t exceeds with probability ``tail``.

    Parameters
    ----------
    tail : float
        In (0, 0.5].
    dof : float
        Degrees of freedom, at least 1.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    if not 0.0 < tail <= 0.5:
        raise ValueError(f"tail must be in (0, 0.5], got {tail!r}")
    if not dof >= 1.0:
        raise ValueError(f"dof must be at least 1, got {dof!r}")
    low, high = 0.0, 1.0
    while student_tail(high, dof) > tail and high < 1e150:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        if student_tail(middle, dof) > tail:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def cusum_limit(reference: float, run_length: float) -> float:
    """Return the limit of a one-sided CUSUM that gives this mean run length on unit normal values.

    Siegmund's approximation [1]_: ``(exp(2 k b) - 2 k b - 1) / (2 k^2)`` with ``b = h + 1.166``.

    References
    ----------
    .. [1] Siegmund, Sequential Analysis, Springer, 1985, section 2.6.
    """
    low, high = 0.0, 1.0

    def length(b: float) -> float:
        e = 2.0 * reference * b
        return (exp(e) - e - 1.0) / (2.0 * reference * reference)

    while length(high) < run_length:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        if length(middle) < run_length:
            low = middle
        else:
            high = middle
    return max(0.0, 0.5 * (low + high) - 1.166)
