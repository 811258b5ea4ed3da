"""Inference-time intervention on the residual stream: shift along a logistic probe.

After Li et al. 2023 (arXiv 2306.03341), as Zhao et al. 2026 compare with it: a probe on the whole
stream. The original on attention heads is `iti_heads`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.fitting.logistic import fit_logistic
from steereval.models.methods.barrier_flow import LogisticOptions
from steereval.models.methods.caa import shift_along
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import CONSTANT, SiteMethod
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class ItiOptions(LogisticOptions):
    """How the probe is fitted, and the length of its direction."""

    scale: Literal["unit", "sigma"] = "unit"
    """unit: length 1. sigma: the standard deviation of the activations along the direction."""


class Iti(SiteMethod):
    """Unit coefficients of the probe."""

    name = "iti"
    summary = "inference-time intervention: x + T w, w the direction of a logistic probe"
    has = frozenset({CONSTANT})
    kinds = (ConstantShift,)
    Options = ItiOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """The probe is solved to convergence."""
        weights, _ = probe(data, options, self.name)
        direction = weights / weights.norm()
        if options.scale == "sigma":
            both = torch.cat([data.positive, data.negative]).double()
            direction = direction * (both @ direction).std()
        return shift_along(direction, data)


def probe(data: SiteData, options: LogisticOptions, method: str) -> tuple[Tensor, float]:
    """Weights [d] and intercept of a logistic probe. Raises FitError if it has no direction."""
    fitted = fit_logistic(data.positive, data.negative, options.C, options.max_iterations)
    if not bool(fitted[0].abs().max() > 1e-12):
        raise FitError(
            f"the two classes look the same to a linear probe, so {method} has no direction",
            "Check that the contrast's positive and negative texts differ.",
        )
    return fitted
