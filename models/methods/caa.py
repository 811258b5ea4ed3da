"""Contrastive activation addition: shift by the difference of the class means.

Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition" (arXiv 2312.06681).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from steereval.errors import FitError
from steereval.models.methods.method import SiteMethod
from steereval.models.steerer import Steerer, typical_norm


@dataclass(frozen=True)
class ConstantShift(Steerer):
    """x + T v."""

    method: ClassVar[str] = "constant_shift"

    vector: Tensor
    """The shift v of strength 1, [d]."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x + T v."""
        return x + strength * self.vector.to(x.dtype)

    def strength_of_one_norm(self) -> float:
        """The typical norm over the length of v."""
        return self._one_norm

    @cached_property
    def _one_norm(self) -> float:
        return self.typical_norm / float(self.vector.double().norm())


class Caa(SiteMethod):
    """v = mean(P) - mean(N)."""

    name = "caa"
    summary = "contrastive activation addition: x + T (mean(P) - mean(N))"

    def fit_site(self, positive: Tensor, negative: Tensor, options: Any, seed: int) -> Steerer:
        """The difference of the means, taken in float64."""
        vector = (positive.double().mean(dim=0) - negative.double().mean(dim=0)).float()
        if not bool(vector.any()):
            raise FitError(
                "the means of the two classes are the same, so caa has no direction",
                "Check that the contrast's positive and negative texts differ.",
            )
        return ConstantShift(
            vector, dimension=len(vector), typical_norm=typical_norm(positive, negative)
        )
