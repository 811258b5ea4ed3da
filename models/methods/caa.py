"""Contrastive activation addition: shift by the difference of the class means.

Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition" (arXiv 2312.06681).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import CONSTANT, SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


class Caa(SiteMethod):
    """v = mean(P) - mean(N)."""

    name = "caa"
    summary = "contrastive activation addition: x + T (mean(P) - mean(N))"
    has = frozenset({CONSTANT})
    kinds = (ConstantShift,)

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """The difference of the means."""
        return shift_along(mean_difference(data, self.name), data)


def mean_difference(data: SiteData, method: str) -> Tensor:
    """mean(P) - mean(N), float64 [d]. Raises FitError if there is none."""
    vector = data.positive.double().mean(dim=0) - data.negative.double().mean(dim=0)
    # Means of the same rows in another order differ in their last digits.
    noise = 1e-12 * data.positive.double().abs().mean()
    if not bool(vector.abs().max() > noise):
        raise FitError(
            f"the means of the two classes are the same, so {method} has no direction",
            "Check that the contrast's positive and negative texts differ.",
        )
    return vector


def shift_along(vector: Tensor, data: SiteData) -> ConstantShift:
    """A constant shift by `vector` [d] with the median norm of the activations of `data`."""
    norm = median_norm(data.positive, data.negative)
    return ConstantShift(vector.float(), dimension=len(vector), median_norm=norm)
