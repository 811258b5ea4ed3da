"""Equal displacement: the strength at which a steerer moves activations by a given distance.

Methods have units of their own, so a comparison at equal strength means nothing; one at equal
mean displacement |y - x| asks which of them makes the most of the same distance.
"""

from __future__ import annotations

from collections.abc import Callable

from scipy.optimize import brentq
from torch import Tensor

from steereval.errors import InputError
from steereval.models.steerer import Steerer

SMALLEST = 1e-4
"""Strength from which the search begins; it doubles until the displacement is reached."""
DOUBLINGS = 40
RELATIVE_ERROR = 1e-4


def mean_displacement(steerer: Steerer, x: Tensor, queries: Tensor, strength: float) -> float:
    """Mean |y - x| over activations x [n, d], in typical norms of the steerer.

    `queries` [n, d]: the state of each row's query, for steerers that decide per query.
    """
    keys = [str(row) for row in range(len(x))]
    state = steerer.begin(queries, keys) if steerer.per_query else None
    moved = steerer.apply(x, strength, state) - x
    return float(moved.double().norm(dim=1).mean()) / steerer.typical_norm


def matched_strength(steerer: Steerer, x: Tensor, queries: Tensor, displacement: float) -> float:
    """A strength at which the mean displacement of x [n, d] is `displacement`.

    Raises InputError where the steerer does not know its typical norm, or where no strength moves
    so far: rotations and projections have a farthest.
    """
    if steerer.typical_norm <= 0:
        raise InputError(
            f"this {steerer.method} steerer does not know the norm of its activations",
            "Only a fitted steerer can be matched to a displacement; use absolute strengths.",
        )

    def missing(strength: float) -> float:
        return mean_displacement(steerer, x, queries, strength) - displacement

    low, high = 0.0, SMALLEST
    farthest = 0.0
    for _ in range(DOUBLINGS):
        gap = missing(high)
        if gap >= 0:
            return _root(missing, low, high)
        farthest = max(farthest, gap + displacement)
        low, high = high, 2 * high
    raise InputError(
        f"{steerer.method} moves activations by at most {farthest:.3g} median norms, which is less "
        f"than {displacement:g}",
        "Ask for a smaller displacement, or leave this method out.",
    )


def _root(missing: Callable[[float], float], low: float, high: float) -> float:
    if low == 0.0:
        return high
    return float(brentq(missing, low, high, rtol=RELATIVE_ERROR))
