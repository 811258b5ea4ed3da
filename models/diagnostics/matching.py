"""The strength at which a method displaces by a given distance, so that methods compare alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

from scipy.optimize import brentq
from torch import Tensor

from steereval.errors import FitError
from steereval.models.diagnostics.acting import Acting
from steereval.models.methods.gradient_ascent import GradientAscentSteerer

GROWTH = 1.25
"""Ratio of the strengths that are tried one after the other."""
TRIES = 100
"""Strengths after which a distance counts as out of reach."""
ACCURACY = 1e-4
"""Relative error of the strength."""


def mean_displacement(x: Tensor, y: Tensor) -> float:
    """Mean |y - x| over the rows of x and y [n, d]."""
    return float((y - x).norm(dim=-1).mean())


def mover(acting: Acting) -> Callable[[Tensor, float], Tensor]:
    """A function that steers activations [n, d] with a strength, in whichever unit is quickest.

    Gradient ascent takes its rate: its own strength is the distance that the rate is chosen for.
    """
    steerer = acting.steerer
    if isinstance(steerer, GradientAscentSteerer):
        return lambda x, rate: x + steerer.ascent(x, rate, steerer.flow.steps)
    return acting


def strength_at(displacement: Callable[[float], float], target: float) -> float | None:
    """The strength above 0 whose mean displacement is `target`, which is above 0.

    `displacement` gives the mean displacement of a strength; it is 0 for 0 and continuous. From the
    strength at which a displacement in proportion would be right the search goes up, or down, in
    steps of GROWTH until the target lies between two strengths; Brent's bracketed method refines
    them. None where no strength reaches it: a method that moves onto a point, or turns, goes only
    so far.
    """
    reach = cache(partial(_distance, displacement))
    high = target / reach(1.0) if reach(1.0) > 0 else 1.0
    for _ in range(TRIES):
        if reach(high) >= target:
            break
        high *= GROWTH
    else:
        return None
    low = high / GROWTH
    while reach(low) >= target:
        low, high = low / GROWTH, low
    return float(brentq(lambda strength: reach(strength) - target, low, high, rtol=ACCURACY))


def _distance(displacement: Callable[[float], float], strength: float) -> float:
    """The displacement; 0 for a strength that the method refuses, or at which it overflows."""
    try:
        found = displacement(strength)
    except FitError:
        return 0.0
    return found if math.isfinite(found) else 0.0
