"""Equal displacement: the strength at which a steerer moves activations by a given distance.

Methods have units of their own, so a comparison at equal strength means nothing; one at equal
mean displacement |y - x| asks which of them makes the most of the same distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

from scipy.optimize import brentq
from torch import Tensor

from steereval.common.errors import FitError, InputError
from steereval.models.steering.steerer import Steerer

GROWTH = 1.25
"""Ratio of the strengths that are tried one after the other."""
TRIES = 100
"""Strengths after which a distance counts as out of reach."""
ACCURACY = 1e-4
"""Relative error of the strength."""


def mean_displacement(steerer: Steerer, x: Tensor, queries: Tensor, strength: float) -> float:
    """Mean |y - x| over activations x [n, d], in median norms of the steerer.

    `queries` [n, d]: the state of each row's query, for steerers that decide per query.
    """
    keys = [str(row) for row in range(len(x))]
    state = steerer.begin(queries, keys) if steerer.per_query else None
    moved = steerer.apply(x, strength, state) - x
    return float(moved.double().norm(dim=1).mean()) / steerer.median_norm


def matched_strength(steerer: Steerer, x: Tensor, queries: Tensor, displacement: float) -> float:
    """A strength at which the mean displacement of x [n, d] is `displacement`, 0 for 0.

    Raises InputError where the steerer does not know its median norm, or where no strength moves
    far enough (rotations and projections have a farthest) or as little.
    """
    if displacement == 0:
        return 0.0
    if steerer.median_norm <= 0:
        raise InputError(
            f"this {steerer.method} steerer does not know the norm of its activations",
            "Only a fitted steerer can be matched to a displacement; use absolute strengths.",
        )
    strength = strength_at(partial(mean_displacement, steerer, x, queries), displacement)
    if strength is None:
        raise InputError(
            f"no strength of {steerer.method} moves activations by {displacement:g} median norms",
            "Ask for a smaller displacement, or leave this method out.",
        )
    return strength


def strength_at(displacement: Callable[[float], float], target: float) -> float | None:
    """The strength above 0 whose mean displacement is `target`, which is above 0.

    `displacement` gives the mean displacement of a strength; it is 0 for 0 and continuous. From the
    strength at which a displacement in proportion would be right the search goes up, or down, in
    steps of GROWTH until the target lies between two strengths; Brent's bracketed method refines
    them. None where no strength does it: a method that moves onto a point, or turns, goes only so
    far, and one that jumps does not go so little.
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
    for _ in range(TRIES):
        if reach(low) < target:
            break
        low, high = low / GROWTH, low
    else:
        return None
    return float(brentq(lambda strength: reach(strength) - target, low, high, rtol=ACCURACY))


def _distance(displacement: Callable[[float], float], strength: float) -> float:
    """The displacement; 0 for a strength that the method refuses, or at which it overflows."""
    try:
        distance = displacement(strength)
    except FitError:
        return 0.0
    return distance if math.isfinite(distance) else 0.0
