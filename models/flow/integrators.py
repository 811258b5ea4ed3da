"""Fixed-step solvers for an autonomous ODE, as the displacement that they accumulate.

The displacement is kept apart from the start, so that a small displacement of a large vector
loses no digits, and a duration of zero displaces by exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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


SOLVERS: dict[str, Increment] = {"euler": euler, "midpoint": midpoint, "rk4": rk4}


def displacement(field: Field, x: Tensor, duration: float, steps: int, solver: str) -> Tensor:
    """x(duration) - x(0) for x' = field(x), by `steps` equal steps; shape of x [..., d]."""
    increment = SOLVERS[solver]
    total = torch.zeros_like(x)
    for _ in range(steps):
        total = total + increment(field, x + total, duration / steps)
    return total
