"""The strength at which a method displaces by a given distance, so that methods compare alike."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq
from torch import Tensor

from steereval.errors import FitError

DOUBLINGS = 40
"""Doublings of the first guess after which a distance counts as out of reach."""
ACCURACY = 1e-4
"""Relative error of the strength."""


def mean_displacement(x: Tensor, y: Tensor) -> float:
    """Mean |y - x| over the rows of x and y [n, d]."""
    return float((y - x).norm(dim=-1).mean())


def strength_at(displacement: Callable[[float], float], target: float) -> float | None:
    """The strength above 0 whose mean displacement is `target`, which is above 0.

    `displacement` gives the mean displacement of a strength; it is 0 for 0 and continuous. The
    first strength that reaches the target among 1, 2, 4 .. (or below 1 the last among 1, 1/2,
    1/4 ..) is refined by Brent's bracketed method. None where no strength reaches it: a method that
    moves onto a point, or by a turn, goes only so far.
    """
    high = 1.0
    for _ in range(DOUBLINGS):
        if _distance(displacement, high) >= target:
            break
        high *= 2
    else:
        return None
    low = high / 2
    while _distance(displacement, low) >= target:
        low, high = low / 2, low
    return float(brentq(lambda s: _distance(displacement, s) - target, low, high, rtol=ACCURACY))


def _distance(displacement: Callable[[float], float], strength: float) -> float:
    """The displacement; 0 for a strength that the method refuses, or at which it overflows."""
    try:
        found = displacement(strength)
    except FitError:
        return 0.0
    return found if math.isfinite(found) else 0.0
