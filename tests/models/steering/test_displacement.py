"""Strengths that are matched to a displacement."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_options import SMALL

from steereval.common.errors import InputError
from steereval.models import odesteer_from_sketch
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.displacement import matched_strength, mean_displacement, strength_at
from steereval.models.testing import SITE, MethodCase, contrast_data

METHODS = sorted(
    name
    for name, method in BUILT_IN.items()
    if method.fits and name != "none" and method.reads == "block"
)


def test_a_constant_shift_is_matched_by_its_length() -> None:
    steerer = ConstantShift(torch.tensor([3.0, 4.0]), dimension=2, median_norm=10.0)
    x = torch.randn(7, 2)
    assert matched_strength(steerer, x, x, 0.2) == pytest.approx(0.2 * 10 / 5, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=5, deadline=None)
@given(displacement=st.floats(0.01, 0.2))
def test_every_method_moves_as_far_as_it_is_asked_to(method: str, displacement: float) -> None:
    steerer = MethodCase(BUILT_IN[method], SMALL.get(method, {}), 0).fit(0)
    data = contrast_data(0)
    x = torch.cat([data.positive[SITE], data.negative[SITE]])
    strength = matched_strength(steerer, x, x, displacement)
    result = mean_displacement(steerer, x, x, strength)
    assert result == pytest.approx(displacement, rel=2e-3)


def test_a_rotation_has_a_farthest() -> None:
    steerer = MethodCase(BUILT_IN["angular"], SMALL.get("angular", {}), 0).fit(0)
    data = contrast_data(0)
    x = data.positive[SITE]
    with pytest.raises(InputError, match=r"no strength of .* moves activations by 50 median"):
        matched_strength(steerer, x, x, 50.0)


def test_a_jump_is_not_searched_for_ever() -> None:
    """A method that moves by 1 at any strength moves by no half."""
    assert strength_at(lambda strength: float(strength > 0), 0.5) is None


def test_a_steerer_without_a_norm_cannot_be_matched() -> None:
    index, sign = torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4)
    steerer = odesteer_from_sketch(index, sign, torch.ones(8), 0.0)
    with pytest.raises(InputError, match="does not know the norm"):
        matched_strength(steerer, torch.randn(3, 3), torch.randn(3, 3), 0.1)


def test_a_displacement_is_not_a_strength_of_a_steerer_alone() -> None:
    steerer = ConstantShift(torch.ones(2), dimension=2, median_norm=1.0)
    with pytest.raises(InputError, match="must be matched on the activations"):
        steerer.absolute_strength(0.1, "displacement")
