"""ODESteer with one step: the same barrier, x + T v(x).

The one-step variant of Zhao et al. 2026 (arXiv 2602.17560), against which the paper compares.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from steereval.models.methods.method import SiteMethod
from steereval.models.methods.odesteer import BarrierOptions, fit_flow
from steereval.models.steerer import Steerer


class StepOdeSteer(SiteMethod):
    """One Euler step of length T."""

    name = "step_odesteer"
    summary = "ODESteer's field in a single step of length T"
    seeded = True
    Options = BarrierOptions

    def fit_site(self, positive: Tensor, negative: Tensor, options: Any, seed: int) -> Steerer:
        """Fit the same barrier as odesteer does from this seed."""
        return fit_flow(positive, negative, options, seed, "euler", 1)
