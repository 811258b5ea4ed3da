"""What methods say of themselves, held against the steerers that they yield."""

from __future__ import annotations

import pytest

from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.gradient_ascent import GradientAscentSteerer
from steereval.models.methods.method import BARRIER, CONSTANT, FLOW
from steereval.models.methods.registry import BUILT_IN


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"conditional", "vector"}))
def test_traits_are_those_of_the_steerers(name: str) -> None:
    method = BUILT_IN[name]
    traits = method.traits(method.options({}))
    assert traits <= {BARRIER, CONSTANT, FLOW}
    climbs = any(issubclass(kind, (BarrierFlow, GradientAscentSteerer)) for kind in method.kinds)
    assert (BARRIER in traits) == climbs
    assert (CONSTANT in traits) == (method.kinds == (ConstantShift,))
    assert FLOW not in traits or BARRIER in traits


def test_one_step_is_not_an_integration() -> None:
    assert FLOW in BUILT_IN["odesteer"].traits(BUILT_IN["odesteer"].options({}))
    assert FLOW not in BUILT_IN["step_odesteer"].traits(BUILT_IN["step_odesteer"].options({}))


@pytest.mark.parametrize(("inner", "expected"), [("odesteer", {BARRIER, FLOW}), ("caa", set())])
def test_a_gate_has_the_traits_of_what_is_behind_it(inner: str, expected: set[str]) -> None:
    method = BUILT_IN["conditional"]
    assert method.traits(method.options({"method": inner})) == expected
