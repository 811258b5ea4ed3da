"""Whitened difference of means: shift along the direction of Fisher's linear discriminant.

v is the covariance within the classes, inverted, times mean(P) - mean(N): directions in which
activations vary anyway count for less. It is as long as the difference of the means itself, so
that strengths mean what they mean for caa.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.caa import mean_difference, shift_along
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class WhitenedDifferenceOptions:
    """How the covariance is estimated."""

    shrinkage: float = 0.1
    """Share of the mean variance in the covariance; 1 takes nothing else, which is caa."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be above 0 and at most 1, not {self.shrinkage}")


class WhitenedDifference(SiteMethod):
    """Fits every site alone and draws nothing at random."""

    name = "whitened_difference"
    summary = "whitened difference of means: x + T v, v along Fisher's linear discriminant"
    kinds = (ConstantShift,)
    Options = WhitenedDifferenceOptions

    def fit_site(self, data: SiteData, options: WhitenedDifferenceOptions, seed: int) -> Steerer:
        """A shift by the whitened difference, scaled to the length of the difference."""
        difference = mean_difference(data, self.name)
        vector = torch.linalg.solve(shrunk_covariance(data, options.shrinkage), difference)
        return shift_along(vector * (difference.norm() / vector.norm()), data)


def shrunk_covariance(data: SiteData, shrinkage: float) -> Tensor:
    """Covariance [d, d] within the classes, pulled towards a multiple of the identity.

    Never singular, however few the samples. Raises FitError if they do not vary.
    """
    classes = (data.positive.double(), data.negative.double())
    rows = torch.cat([part - part.mean(dim=0) for part in classes])
    variance = rows.square().mean()
    if not variance > 0:
        raise FitError(
            f"the activations at layer {data.site} do not vary within the classes",
            "Give more samples of each class.",
        )
    covariance = rows.T @ rows / len(rows)
    return (1 - shrinkage) * covariance + shrinkage * variance * torch.eye(
        len(covariance), dtype=torch.float64
    )
