"""The laws that every steering method keeps, and an answer worked out by hand."""

from __future__ import annotations

import pytest
import torch
from whitened_difference import WhitenedDifference

from steereval.models.fitting.contrast_data import two_classes
from steereval.models.steering.hook_points import Site
from steereval.models.testing import LAWS, Law, MethodCase

METHOD = WhitenedDifference()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_laws(law: Law, shrinkage: float) -> None:
    """All of them, with and without the covariance."""
    law(MethodCase(METHOD, {"shrinkage": shrinkage}))


def test_two_dimensions_by_hand() -> None:
    """Variances 2 and 1/2, their mean 5/4 with a share of 1/5: 37/20 and 13/20."""
    spread = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    difference = torch.tensor([1.0, 1.0])
    data = two_classes(spread + difference, spread, Site(0))
    steerer = MethodCase(METHOD, {"shrinkage": 0.2}).fit(data=data)
    wanted = difference / torch.tensor([37 / 20, 13 / 20])
    wanted *= difference.norm() / wanted.norm()
    x = torch.zeros(3, 2)
    assert torch.allclose(steerer(x, 2.0), x + 2 * wanted)
