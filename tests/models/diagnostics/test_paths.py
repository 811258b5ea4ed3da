"""Paths: the solver's own states, where there are some, and decisions that go with their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from steereval.models.diagnostics.acting import Acting, own_barrier
from steereval.models.diagnostics.paths import POINTS, directions, path, velocities
from steereval.models.flow.integrators import FIXED
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.conditional import GatedSteerer
from steereval.models.methods.gradient_ascent import GradientAscentSteerer
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import MethodCase, points

OPTIONS = {"components": 128, "steps": 6}
STRENGTH = 4.0


def x() -> Tensor:
    return points(0, 5).double()


def fitted(name: str, **options: object) -> Steerer:
    return MethodCase(BUILT_IN[name], options).fit()


@pytest.mark.parametrize("solver", sorted(FIXED))
@pytest.mark.parametrize("degree", [2, 3])
def test_points_of_a_flow_are_its_shorter_flows(solver: str, degree: int) -> None:
    flow = fitted("odesteer", **OPTIONS, solver=solver, degree=degree)
    assert isinstance(flow, BarrierFlow)
    result = path(Acting(flow), x(), STRENGTH)
    assert result.shape == (7, 5, 24)
    assert torch.equal(result[0], x())
    for k in range(1, 7):
        wanted = replace(flow, steps=k)(x(), STRENGTH * k / 6)
        torch.testing.assert_close(result[k], wanted, rtol=0, atol=1e-7)


def test_points_of_gradient_ascent_are_its_steps() -> None:
    steerer = fitted("gradient_ascent", **OPTIONS)
    assert isinstance(steerer, GradientAscentSteerer)
    result = path(Acting(steerer), x(), STRENGTH)
    assert len(result) == 7
    torch.testing.assert_close(result[-1], steerer(x(), STRENGTH), rtol=0, atol=1e-7)
    rate = steerer.matching_rate(STRENGTH)
    wanted = result[2] + rate * steerer.flow.gradient(result[2])
    torch.testing.assert_close(result[3], wanted, rtol=0, atol=1e-6)


def test_a_method_without_a_way_of_its_own_is_taken_at_growing_strength() -> None:
    shift = fitted("caa")
    result = path(Acting(shift), x(), STRENGTH)
    assert len(result) == POINTS + 1
    torch.testing.assert_close(result[3], shift(x(), 0.3 * STRENGTH))
    assert torch.equal(result[-1], shift(x(), STRENGTH))


def test_velocities_are_the_field_or_else_the_steps() -> None:
    flow, shift = fitted("odesteer", **OPTIONS), fitted("caa")
    assert isinstance(flow, BarrierFlow)
    along = path(Acting(flow), x(), STRENGTH)
    assert torch.equal(velocities(Acting(flow), along), flow.field(along[:-1]))
    straight = path(Acting(shift), x(), STRENGTH)
    assert torch.equal(velocities(Acting(shift), straight), straight[1:] - straight[:-1])


def test_directions_are_unit_vectors_or_nothing() -> None:
    shift = fitted("caa")
    result = directions(Acting(shift), x(), STRENGTH)
    vector = shift.shift(1.0)
    assert vector is not None
    unit = (vector / vector.norm()).double()
    torch.testing.assert_close(result, unit.expand_as(result), rtol=0, atol=1e-6)
    closed = fitted("conditional", threshold=0.999999)
    acting = Acting.on(closed, x(), ["a", "b", "c", "d", "e"])
    assert acting.state is not None
    assert torch.equal(
        directions(acting, x(), STRENGTH).norm(dim=1) > 0, acting.state[:, 0] > 0
    )  # fmt: skip


def test_each_activation_is_steered_by_what_its_query_decided() -> None:
    """Rows whose gate is closed stay where they are, at every point."""
    steerer = fitted("conditional")
    assert isinstance(steerer, GatedSteerer)
    queries = torch.cat([100 * steerer.direction[None], -100 * steerer.direction[None]]).double()
    acting = Acting.on(steerer, queries, ["shut", "open"])
    result = path(acting, x()[:2], STRENGTH)
    assert torch.equal(result[:, 0], x()[0].expand_as(result[:, 0]))
    torch.testing.assert_close(result[:, 1], path(Acting(steerer.inner), x()[1:2], STRENGTH)[:, 0])


def test_the_barrier_that_a_method_climbs_is_found() -> None:
    flow, ascent = fitted("odesteer", **OPTIONS), fitted("gradient_ascent", **OPTIONS)
    gated = fitted("conditional", method="odesteer", method_options=OPTIONS)
    assert isinstance(ascent, GradientAscentSteerer)
    assert isinstance(gated, GatedSteerer)
    assert own_barrier(flow) is flow
    assert own_barrier(ascent) is ascent.flow
    assert own_barrier(gated) is gated.inner
    assert own_barrier(fitted("caa")) is None
