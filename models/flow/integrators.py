"""Solvers for an autonomous ODE, as the displacement that they accumulate.

The displacement is kept apart from the start, so that a small displacement of a large vector
loses no digits, and a duration of zero displaces by exactly zero. Every row has a time of its
own: what happens to it does not depend on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from steereval.common.errors import CellError
from steereval.models.flow.sketch import safe_norm

Field = Callable[[Tensor], Tensor]
"""Velocity [..., d] at states [..., d]."""
Increment = Callable[[Field, Tensor, float], Tensor]
"""Displacement over one step from a state, given the field and the step's length."""


def euler(field: Field, x: Tensor, step: float) -> Tensor:
    """Explicit Euler, order 1."""
    return step * field(x)


def midpoint(field: Field, x: Tensor, step: float) -> Tensor:
    """Explicit midpoint, order 2."""
    return step * field(x + 0.5 * step * field(x))


def rk4(field: Field, x: Tensor, step: float) -> Tensor:
    """The classical Runge-Kutta method, order 4."""
    first = field(x)
    second = field(x + 0.5 * step * first)
    third = field(x + 0.5 * step * second)
    fourth = field(x + step * third)
    return step / 6 * (first + 2 * second + 2 * third + fourth)


def exponential(field: Field, x: Tensor, step: float) -> Tensor:
    """Along the great circle in the direction of the field, order 1: keeps the norm exactly.

    The exponential map of the sphere of radius |x|; only for fields orthogonal to x.
    """
    velocity, radius = field(x), safe_norm(x)
    speed = velocity.norm(dim=-1, keepdim=True)
    # On a sphere of radius 0 there is nowhere to go, at a finite angle.
    angle = step * speed / radius.clamp_min(1e-30)
    along: Tensor = (
        radius * torch.sin(angle) * velocity / speed.clamp_min(torch.finfo(x.dtype).tiny)
    )
    # 1 - cos = 2 sin^2(angle / 2).
    return along - 2 * torch.sin(angle / 2) ** 2 * x


FIXED: dict[str, Increment] = {
    "euler": euler, "midpoint": midpoint, "rk4": rk4, "exponential": exponential,
}  # fmt: skip
Solver = Literal["euler", "midpoint", "rk4", "exponential", "adaptive"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
"""Names of all solvers."""


def displacement(
    field: Field, x: Tensor, duration: float, steps: int, solver: str, tolerance: float = 1e-4
) -> Tensor:
    """x(duration) - x(0) for x' = field(x), shape of x [..., d].

    `steps` equal steps; the adaptive solver takes as many as keep the error of each below
    `tolerance` (in units of x), beginning with this length.
    """
    if solver == "adaptive":
        return _adaptive(field, x, duration, duration / steps, tolerance)
    increment = FIXED[solver]
    total = increment(field, x, duration / steps)
    for _ in range(steps - 1):
        total = total + increment(field, x + total, duration / steps)
    return total


MOST_STEPS = 10_000
"""Steps after which the adaptive solver gives up."""

# Dormand and Prince 1980, the pair of orders 5 and 4.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_FOURTH = (
    5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40,
)  # fmt: skip


def _adaptive(
    field: Field, x: Tensor, duration: float, first_step: float, tolerance: float
) -> Tensor:
    """Dormand-Prince with a step of its own for every row, unlike the libraries' solvers, whose
    steps depend on the batch."""
    total = torch.zeros_like(x)
    time = x.new_zeros((*x.shape[:-1], 1))
    step = torch.full_like(time, first_step)
    for _ in range(MOST_STEPS):
        left = duration - time
        step = torch.where(step.abs() > left.abs(), left, step)
        moved, error = _embedded(field, x + total, step)
        ratio = (error.norm(dim=-1, keepdim=True) / tolerance).clamp_min(1e-10)
        # A step with NaN is accepted, so that it is reported and not tried for ever.
        accepted = ~(ratio > 1)
        total = torch.where(accepted, total + moved, total)
        time = torch.where(accepted, torch.where(step == left, duration, time + step), time)
        step = step * (0.9 * ratio**-0.2).clamp(0.2, 5.0).nan_to_num(1.0)
        step = torch.where(step == 0, torch.full_like(step, first_step), step)
        if bool((time == duration).all()):
            return total
    raise CellError(
        f"the adaptive solver did not reach time {duration:g} in {MOST_STEPS} steps",
        "Raise the tolerance, or use rk4.",
    )


def _embedded(field: Field, x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement of order 5 over one step, and its difference to that of order 4."""
    slopes = [field(x)]
    moved = torch.zeros_like(x)
    for weights in _STAGES:
        moved = step * sum(w * slope for w, slope in zip(weights, slopes, strict=True))
        slopes.append(field(x + moved))
    lower = step * sum(w * slope for w, slope in zip(_FOURTH, slopes, strict=True))
    return moved, moved - lower
