"""ODESteer with one step: the same barrier, x + T v(x).

The one-step variant of Zhao et al. 2026 (arXiv 2602.17560), against which the paper compares.
"""

from __future__ import annotations

from typing import Any

from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.barrier_flow import SolverOptions
from steereval.models.methods.method import BARRIER, SiteMethod
from steereval.models.methods.odesteer import BarrierOptions, PolynomialFlow, fit_flow
from steereval.models.steering.steerer import Steerer

ONE_STEP = SolverOptions("euler", 1)


class StepOdeSteer(SiteMethod):
    """One Euler step of length T."""

    name = "step_odesteer"
    summary = "ODESteer's field in a single step of length T"
    seeded = True
    has = frozenset({BARRIER})
    kinds = (PolynomialFlow,)
    Options = BarrierOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Fit the same barrier as odesteer does from this seed."""
        return fit_flow(data, options, seed, ONE_STEP)
