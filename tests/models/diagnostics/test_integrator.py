"""What solvers add: errors that fall with their order, and endpoints against a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toy_flows import valley

from steereval.models.diagnostics.integrator import (
    STEPS,
    endpoint,
    endpoint_distance,
    one_step_distance,
    reference,
    solvers_of,
)
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.registry import BUILT_IN
from steereval.models.testing import MethodCase, points

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4, "exponential": 1}


def flow(name: str, **options: object) -> BarrierFlow:
    steerer = MethodCase(BUILT_IN[name], {"components": 256, **options}).fit()
    assert isinstance(steerer, BarrierFlow)
    return steerer


@pytest.mark.parametrize("solver", sorted(ORDERS))
def test_errors_fall_with_the_order_of_the_solver(solver: str) -> None:
    x, barrier = points(3, 8).double(), flow("odesteer")
    exact = reference(barrier, x, 8.0)
    steps = [10, 20, 40]
    errors = [
        float(endpoint_distance(x, endpoint(barrier, x, 8.0, solver, k), exact).mean())
        for k in steps
    ]
    slope = -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
    assert slope == pytest.approx(ORDERS[solver], abs=0.2 * ORDERS[solver])


def test_the_reference_is_the_closed_form() -> None:
    """Towards an axis on a sphere of radius R: tan(theta/2) falls as exp(-t/R) at unit pull, but
    the normalised field goes at unit speed, so the angle falls by T/R."""
    sphere = MethodCase(BUILT_IN["linear_sphere"]).fit()
    assert isinstance(sphere, BarrierFlow)
    x = points(4, 6).double()
    pole = sphere.tensors()["weights"].double()
    pole = pole / pole.norm()
    radius = x.norm(dim=1)
    before = torch.acos((x @ pole) / radius)
    after = torch.acos((reference(sphere, x, 2.0) @ pole) / radius)
    torch.testing.assert_close(after, before - 2.0 / radius)


def test_one_step_distance_by_hand() -> None:
    """Two unit-speed steps of length 1 from (3, 4) in the plane with curvatures 1 and 1/2."""
    hill = valley(torch.tensor([1.0, 0.5]), 1)
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    first = math.hypot(3, 2)
    half = (3 - 3 / first, 4 - 2 / first)
    second = math.hypot(half[0], half[1] / 2)
    two = (half[0] - half[0] / second, half[1] - half[1] / 2 / second)
    one = (3 - 2 * 3 / first, 4 - 2 * 2 / first)
    wanted = math.hypot(two[0] - one[0], two[1] - one[1])
    assert float(one_step_distance(hill, x, 2.0, 2)) == pytest.approx(wanted)
    assert float(one_step_distance(hill, x, 2.0, 1)) == 0


def test_relative_to_the_mean_displacement() -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    exact = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double()
    assert endpoint_distance(x, exact + 0.5, exact).tolist() == pytest.approx([0.5**0.5 / 2] * 2)


def test_solvers_that_keep_the_norm_are_for_fields_that_do() -> None:
    x = points(5, 4)
    assert "exponential" in solvers_of(flow("odesteer"), x)
    assert "exponential" not in solvers_of(flow("rff_odesteer"), x)
    assert set(solvers_of(flow("odesteer"), x)) == ORDERS.keys()
    assert min(STEPS) == 1
