"""Directional ablation: take away the component along a direction.

Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction"
(arXiv 2406.11717); the direction is the unit difference of the class means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.caa import mean_difference
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class Ablation(Steerer):
    """x - T r (r . x)."""

    method: ClassVar[str] = "ablation"

    direction: Tensor
    """The unit direction r, [d]."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """At T = 1 nothing is left along r."""
        direction = self.direction.to(x.dtype)
        along = (x @ direction)[..., None]
        return torch.addcmul(x, along, direction, value=-strength)


class Ablate(SiteMethod):
    """The difference of the means is ablated."""

    name = "ablate"
    summary = "directional ablation: x - T r (r . x), r the unit difference of means"
    kinds = (Ablation,)

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """The unit difference of the means."""
        direction = mean_difference(data, self.name)
        return Ablation(
            (direction / direction.norm()).float(),
            dimension=len(direction),
            median_norm=median_norm(data.positive, data.negative),
        )
