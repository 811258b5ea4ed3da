"""Distances from the data: a Gaussian by hand, and a trajectory that leaves a plane of data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.manifold import NEIGHBOURS, Manifold, norm_ratio
from steereval.models.diagnostics.paths import path
from steereval.models.methods.constant_shift import ConstantShift

WIDTH = 20


def plane(seed: int, count: int) -> Tensor:
    """Activations that fill two dimensions of twenty, far from the origin."""
    draw = torch.Generator().manual_seed(seed)
    rows = 0.05 * torch.randn(count, WIDTH, generator=draw, dtype=torch.float64)
    rows[:, :2] += torch.randn(count, 2, generator=draw, dtype=torch.float64)
    rows[:, 2] += 10
    return rows


def along(axis: int, strength: float) -> Tensor:
    """A path from new points of the plane along one axis."""
    shift = ConstantShift(torch.eye(WIDTH)[axis], dimension=WIDTH)
    return path(Acting(shift), plane(1, 50), strength)


def test_a_trajectory_that_leaves_the_data_shows() -> None:
    natural = Manifold.of(plane(0, 400))
    leaving = along(7, 5.0)
    for distance in (natural.mahalanobis(leaving), natural.nearest(leaving)):
        means = distance.mean(dim=1)
        assert distance.shape == leaving.shape[:2]
        assert bool((means[1:] > means[:-1]).all())
        assert float(means[-1]) > 3 * float(means[0])


def test_a_trajectory_within_the_data_does_not() -> None:
    natural = Manifold.of(plane(0, 400))
    staying = along(0, 0.5)
    means = natural.mahalanobis(staying).mean(dim=1)
    assert float(means[-1]) < 1.3 * float(means[0])
    leaving = natural.mahalanobis(along(7, 0.5)).mean(dim=1)
    assert float(leaving[-1]) > 1.5 * float(means[-1])


def test_mahalanobis_of_many_samples_is_that_of_their_gaussian() -> None:
    """Shrinkage vanishes with the number of samples."""
    draw = torch.Generator().manual_seed(2)
    scales = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    rows = scales * torch.randn(20_000, 3, generator=draw, dtype=torch.float64)
    result = Manifold.of(rows).mahalanobis(torch.tensor([[1.0, 0, 0], [0, 3, 0], [0, 0, 1.0]]))
    assert result.tolist() == pytest.approx([1, 1, 2], rel=0.05)


def test_fewer_samples_than_dimensions_are_accepted() -> None:
    draw = torch.Generator().manual_seed(3)
    natural = Manifold.of(torch.randn(30, 200, generator=draw))
    fresh = natural.mahalanobis(torch.randn(40, 200, generator=draw))
    assert float(fresh.mean()) == pytest.approx(200**0.5, rel=0.1)


def test_neighbours_by_hand() -> None:
    """Of 13 points on a line from 1 the ten nearest to 0 are 1 .. 10; the median norm is 7."""
    natural = Manifold.of(torch.arange(1.0, 14)[:, None].expand(13, 2) / 2**0.5)
    assert float(natural.nearest(torch.zeros(1, 2))) == pytest.approx(5.5 / 7)


def test_norms() -> None:
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert norm_ratio(x, torch.stack([x, 2 * x, -x])).tolist() == [[1, 1], [2, 2], [1, 1]]


def test_too_little_to_know_what_is_natural() -> None:
    with pytest.raises(FitError, match="9 held-out"):
        Manifold.of(torch.randn(NEIGHBOURS - 1, 4))
    with pytest.raises(FitError, match="all the same"):
        Manifold.of(torch.ones(20, 4))
