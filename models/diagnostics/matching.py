"""How far a method displaces given activations, so that methods compare at equal distance."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from steereval.models.diagnostics.acting import Acting
from steereval.models.methods.gradient_ascent import GradientAscentSteerer


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
