"""How sure a difference of means is: confidence intervals by Student's t.

Few measurements say little about their own spread, so two standard errors are too few for them:
with two seeds a side, chance alone goes beyond two standard errors in 18 % of all comparisons.
Student's t distribution counts this in. Sources: Student (1908); Welch (1947) for two sides whose
spreads differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
"""Share of all comparisons without a difference in which chance stays within the margin."""
_BISECTIONS = 60
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def margin(sample: Sequence[float] | npt.NDArray[np.floating]) -> float:
    """Half the width of the confidence interval of a mean; NaN for fewer than two numbers.

    Args:
        sample: independent measurements (N,).
    """
    if len(sample) < 2:
        return math.nan
    error = float(np.std(sample, ddof=1)) / math.sqrt(len(sample))
    return error * student_quantile(len(sample) - 1)


def margin_of_difference(first: Sequence[float], second: Sequence[float]) -> float:
    """Half the width of the confidence interval of the difference of two means, after Welch.

    NaN where a side has fewer than two numbers.

    Args:
        first: independent measurements (N,) of one side.
        second: those (M,) of the other side.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    squares = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    total = sum(squares)
    if not total > 0:
        return total  # no spread at all, or NaN
    # Welch's degrees of freedom, from shares of the variance: squares of them could underflow.
    shares = [square / total for square in squares]
    degrees = 1 / sum(
        share**2 / (len(side) - 1) for share, side in zip(shares, (first, second), strict=True)
    )
    return math.sqrt(total) * student_quantile(degrees)


def student_quantile(degrees: float, confidence: float = CONFIDENCE) -> float:
    """The t that |T| stays below with this probability, for Student's t of these degrees.

    Args:
        degrees: degrees of freedom, at least 1; need not be whole.
        confidence: from 0 to 1, both excluded.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _central(angle: float, degrees: float) -> float:
    """P(|T| < t) for t = sqrt(degrees) tan(angle): the density becomes a power of the cosine."""
    angles = angle * (_NODES + 1) / 2
    integral = angle / 2 * float(_WEIGHTS @ np.cos(angles) ** (degrees - 1))
    log_whole = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 2 * integral * math.exp(log_whole) / math.sqrt(math.pi)
