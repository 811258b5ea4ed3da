"""Error of a flow's solver: distances of its endpoints from the exact one.

The reference y* is the classical Runge-Kutta method with 400 steps in float64.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from steereval.models.flow.integrators import FIXED
from steereval.models.methods.barrier_flow import BarrierFlow

REFERENCE_STEPS = 400
"""Steps of the reference solution."""
STEPS = (1, 2, 5, 10, 20, 40)
"""Numbers of steps that are compared."""


def endpoint(flow: BarrierFlow, x: Tensor, strength: float, solver: str, steps: int) -> Tensor:
    """Where a solver leads x [n, d], in float64."""
    return replace(flow, solver=solver, steps=steps).apply(x.double(), strength)


def reference(flow: BarrierFlow, x: Tensor, strength: float) -> Tensor:
    """The reference solution y* [n, d] from x [n, d], in float64."""
    return endpoint(flow, x, strength, "rk4", REFERENCE_STEPS)


def endpoint_distance(x: Tensor, end: Tensor, exact: Tensor) -> Tensor:
    """|y - y*| [n] over the mean displacement |y* - x| for x, y and y* [n, d]."""
    displacement = (exact - x.double()).norm(dim=-1).mean()
    distance: Tensor = (end - exact).norm(dim=-1) / displacement
    return distance


def one_step_distance(flow: BarrierFlow, x: Tensor, strength: float, steps: int) -> Tensor:
    """|y_K - y_1| [n]: where K Euler steps lead x [n, d] against where one does, in units of x."""
    several, one = (endpoint(flow, x, strength, "euler", count) for count in (steps, 1))
    distance: Tensor = (several - one).norm(dim=-1)
    return distance


def solvers_of(flow: BarrierFlow, x: Tensor) -> tuple[str, ...]:
    """The solvers of fixed steps that fit the flow: `exponential` if its field is tangent to the
    sphere at x [n, d]."""
    rows = x.double()
    radial = (flow.field(rows) * rows).sum(dim=-1).abs() / rows.norm(dim=-1)
    tangent = bool(radial.max() < 1e-4)
    return tuple(name for name in FIXED if tangent or name != "exponential")
