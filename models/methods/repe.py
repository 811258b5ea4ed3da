"""Representation engineering: shift along the first principal component of paired differences.

Zou et al. 2023, "Representation Engineering" (arXiv 2310.01405).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.caa import shift_along
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import CONSTANT, SiteMethod
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class RepeOptions:
    """How the differences are taken."""

    flip: bool = True
    """Turn the order within pairs at random, so that centring does not take away the mean shift.
    false: as the authors of ODESteer ran it."""


class Repe(SiteMethod):
    """The first principal component, its sign set by the labels."""

    name = "repe"
    summary = "representation engineering: x + T v, v the main direction of paired differences"
    seeded = True
    has = frozenset({CONSTANT})
    kinds = (ConstantShift,)
    Options = RepeOptions

    def draws(self, options: Any) -> bool:
        """The order within the pairs."""
        return bool(options.flip)

    def needs(self, options: Any) -> frozenset[str]:
        """Pairs, which must really answer one another."""
        return frozenset({"pairs"})

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """A unit vector."""
        differences = data.differences()
        mean = differences.mean(dim=0)
        if options.flip:
            generator = torch.Generator().manual_seed(seed)
            signs = torch.randint(2, (len(differences), 1), generator=generator) * 2 - 1
            differences = differences * signs
        vector = first_component(differences)
        if not bool(vector.any()):
            raise FitError(
                "the paired differences are all the same, so repe has no direction",
                "Use flip: true, or more pairs.",
            )
        return shift_along(-vector if bool(vector @ mean < 0) else vector, data)


def first_component(rows: Tensor) -> Tensor:
    """First principal direction [d] of rows [n, d] about their mean; zero if they do not vary."""
    centred = rows - rows.mean(dim=0)
    if float(centred.norm()) <= 1e-12 * float(rows.norm()):
        return torch.zeros_like(rows[0])
    _, _, right = torch.linalg.svd(centred, full_matrices=False)
    vector: Tensor = right[0]
    return vector
