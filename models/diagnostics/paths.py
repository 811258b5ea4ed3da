"""The way from an activation to where a method leads it, as points in between.

Of a flow x' = v(x) the points are the solver's own states y_k at time k T/K; of plain gradient
ascent the states after each step. A method that moves at once has no way of its own: its points
are where the strengths k T/K lead, y_k = y(k T/K).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, repeat

import torch
from torch import Tensor

from steereval.models.diagnostics.acting import Acting
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.gradient_ascent import GradientAscentSteerer

POINTS = 10
"""Steps into which the way of a method is cut that has none of its own."""


def path(acting: Acting, x: Tensor, strength: float) -> Tensor:
    """The points [K + 1, n, d] from x [n, d] to the activations steered with `strength`.

    K is the number of the method's own steps, else POINTS. In the dtype of x, float32 at least.
    """
    steerer = acting.steerer
    if isinstance(steerer, BarrierFlow):
        # The field does not depend on time, so a step is a flow of its own from where the last led.
        one = replace(steerer, steps=1)
        length = strength / steerer.steps
        return _chain(lambda y: one.apply(y, length), x, steerer.steps)
    if isinstance(steerer, GradientAscentSteerer):
        rate = steerer.matching_rate(strength)
        return _chain(lambda y: y + steerer.ascent(y, rate, 1), x, steerer.flow.steps)
    return torch.stack([acting(x, strength * k / POINTS) for k in range(POINTS + 1)])


def _chain(step: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    return torch.stack(list(accumulate(repeat(None, steps), lambda y, _: step(y), initial=x)))


def velocities(acting: Acting, points: Tensor) -> Tensor:
    """In which direction each step of the path `points` [K + 1, n, d] begins: [K, n, d].

    The field at its start where the method has one, else the step itself.
    """
    steerer = acting.steerer
    if isinstance(steerer, BarrierFlow):
        return steerer.field(points[:-1])
    return points[1:] - points[:-1]


def directions(acting: Acting, x: Tensor, strength: float) -> Tensor:
    """The unit vector [n, d] in which a method leads each of x [n, d]; 0 where it leads nowhere.

    Its field where it has one, v(x); else its displacement, (y - x)/|y - x|.
    """
    steerer = acting.steerer
    if isinstance(steerer, BarrierFlow):
        return steerer.field(x)
    moved = acting(x, strength) - x
    norms = moved.norm(dim=-1, keepdim=True)
    return torch.where(norms > 0, moved / norms, 0.0)
