"""Barriers along paths: what coarse steps break, what fine ones keep, what another barrier says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toy_flows import valley

from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.barrier_checks import (
    reaches,
    share_ascending,
    share_rising,
    starts_below,
    stays,
)
from steereval.models.diagnostics.paths import path, velocities
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.registry import BUILT_IN
from steereval.models.testing import MethodCase, points

START = torch.tensor([[3.0, 0.2]], dtype=torch.float64)
NARROW = torch.tensor([1.0, 25.0])


def rising(steps: int) -> float:
    """Share of rising steps down a narrow valley, over a length of 2."""
    flow = valley(NARROW, steps)
    return float(share_rising(flow.barrier(path(Acting(flow), START, 2.0))))


def test_coarse_steps_violate_what_fine_ones_keep() -> None:
    """Every step begins along the gradient; long ones shoot over the valley's floor."""
    assert rising(2) < 1
    assert rising(400) == 1
    flow = valley(NARROW, 2)
    along = path(Acting(flow), START, 2.0)
    assert float(share_ascending(flow.gradient(along[:-1]), velocities(Acting(flow), along))) == 1


def test_another_barrier_may_fall_along_the_path() -> None:
    """A flow to the right under a judge who wants it to the left."""
    flow = valley(torch.tensor([1.0, 0.0]), 5)
    along = path(Acting(flow), torch.tensor([[-4.0, 1.0], [4.0, 1.0]]).double(), 2.0)
    judge = valley(torch.tensor([-1.0, 0.0]), 1)
    moving = velocities(Acting(flow), along)
    assert share_rising(judge.barrier(along)).tolist() == [0, 0]
    assert share_ascending(judge.gradient(along[:-1]), moving).tolist() == [0, 0]
    assert share_rising(flow.barrier(along)).tolist() == [1, 1]


def columns(*values: list[float]) -> Tensor:
    return torch.tensor(values).T


def test_reaching_and_staying() -> None:
    never, left, stayed, always, touched = (
        [-3.0, -2.0, -1.0, -0.5],
        [-1.0, 1.0, -1.0, 2.0],
        [-1.0, -0.5, 0.0, 1.0],
        [1.0, 2.0, 1.0, 3.0],
        [-1.0, -1.0, -1.0, 0.0],
    )
    values = columns(never, left, stayed, always, touched)
    assert reaches(values).tolist() == [False, True, True, True, True]
    assert stays(values)[reaches(values)].tolist() == [False, True, True, True]
    assert starts_below(values).tolist() == [True, True, True, False, True]
    assert share_rising(values).tolist() == pytest.approx([1, 2 / 3, 1, 2 / 3, 1 / 3])


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=2, max_size=6))
def test_definitions_hold(rows: list[list[float]]) -> None:
    values = torch.tensor(rows)
    for number, column in enumerate(values.T.tolist()):
        inside = [h >= 0 for h in column]
        first = inside.index(True) if any(inside) else len(inside)
        assert bool(reaches(values)[number]) == any(inside)
        assert bool(stays(values)[number]) == all(inside[first:])


def test_on_its_own_barrier_a_fine_flow_rises_by_construction() -> None:
    flow = MethodCase(BUILT_IN["odesteer"], {"components": 256, "steps": 40}).fit()
    assert isinstance(flow, BarrierFlow)
    along = path(Acting(flow), points(1, 20).double(), 2.0)
    assert bool((share_rising(flow.barrier(along)) == 1).all())
