"""Strengths at equal displacement."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_options import SMALL

from steereval.common.errors import FitError
from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.matching import mean_displacement, mover
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.displacement import strength_at
from steereval.models.testing import MethodCase, points


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4))
def test_of_a_straight_line(slope: float, target: float) -> None:
    assert strength_at(lambda s: slope * s, target) == pytest.approx(target / slope, rel=1e-3)


def test_what_saturates_cannot_go_further() -> None:
    def turn(degrees: float) -> float:
        """The chord of a turn: no longer than the diameter, 2."""
        return 2 * abs(math.sin(math.radians(degrees) / 2))

    assert strength_at(turn, 1.0) == pytest.approx(60, rel=1e-3)
    assert strength_at(turn, 1.9) == pytest.approx(2 * math.degrees(math.asin(0.95)), rel=1e-3)
    assert strength_at(turn, 2.1) is None
    assert strength_at(lambda s: s / (1 + s), 1.5) is None


def test_a_method_that_refuses_or_overflows_does_not_reach() -> None:
    def refusing(strength: float) -> float:
        if strength > 4:
            raise FitError("too far")
        return strength

    assert strength_at(refusing, 3.0) == pytest.approx(3, rel=1e-3)
    assert strength_at(refusing, 100.0) is None
    assert strength_at(lambda s: s if s < 4 else math.nan, 100.0) is None


@pytest.mark.parametrize(
    "name", ["caa", "linact", "mimic", "odesteer", "gradient_ascent", "linear_sphere", "angular"]
)
def test_methods_displace_alike(name: str) -> None:
    """Whatever the method's own unit: all end a mean distance of 0.5 away."""
    acting = Acting(MethodCase(BUILT_IN[name], SMALL.get(name, {})).fit())
    x = points(6, 12).double()
    move = mover(acting)
    result = strength_at(lambda s: mean_displacement(x, move(x, s)), 0.5)
    assert result is not None
    assert mean_displacement(x, move(x, result)) == pytest.approx(0.5, rel=2e-3)


def test_mean_displacement() -> None:
    x = torch.zeros(2, 2)
    assert mean_displacement(x, torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == 3
