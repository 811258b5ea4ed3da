"""Plain gradient ascent on ODESteer's barrier: is the ODE needed?

K steps x += eta grad h(x), the gradient not normalised. eta is set for each strength so that the
mean displacement over the fitted negative activations equals that of odesteer at that strength
(`matching_rate`), so that the two can be compared. Asked by reviewers of Zhao et al. 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from scipy.optimize import brentq
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.barrier_flow import SolverOptions
from steereval.models.methods.method import BARRIER, SiteMethod
from steereval.models.methods.odesteer import FlowOptions, PolynomialFlow, fit_flow
from steereval.models.steering.steerer import Steerer

REFERENCE_ROWS = 256
"""Fitted activations kept to match displacements on."""


@dataclass(frozen=True)
class GradientAscentSteerer(Steerer):
    """K steps along the gradient, as far on average as the flow goes."""

    method: ClassVar[str] = "gradient_ascent"

    flow: PolynomialFlow
    """odesteer with the same barrier."""
    reference: Tensor
    """Negative activations [r, d] on which the displacements are matched."""
    _rates: dict[float, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x + eta sum of gradients."""
        return x + self.ascent(x, self.matching_rate(strength), self.flow.steps)

    def matching_rate(self, strength: float) -> float:
        """eta for which the reference moves as far as under the flow, by Brent's method."""
        if strength not in self._rates:
            rows = self.reference.double()
            goal = float((self.flow.move(rows, strength, None) - rows).norm(dim=-1).mean())
            sign = 1 if strength > 0 else -1
            rate = _rate(lambda eta: self._mean_length(rows, sign * eta), goal)
            self._rates[strength] = sign * rate
        return self._rates[strength]

    def _mean_length(self, rows: Tensor, rate: float) -> float:
        return float(self.ascent(rows, rate, self.flow.steps).norm(dim=-1).mean())

    def ascent(self, x: Tensor, rate: float, steps: int) -> Tensor:
        """The displacement of x [..., d] after `steps` steps of `rate` times the gradient."""
        form = self.flow.quadratic
        if form is None:
            return _steps(self.flow.gradient, x, rate, steps)
        return form.rotate_back(form.ascend(form.rotate(x), rate, steps))

    def strength_of_one_norm(self) -> float:
        """As odesteer, whose displacement it matches."""
        return self.median_norm


def _steps(gradient: Any, x: Tensor, rate: float, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for _ in range(steps):
        total = total + rate * gradient(x + total)
    return total


def _rate(length: Any, goal: float) -> float:
    """The rate above 0 at which `length` reaches `goal`."""
    low, high = 0.0, 1.0
    for _ in range(200):
        if length(high) >= goal:
            break
        low, high = high, 2 * high
    else:
        raise FitError(
            f"no rate moves the activations by {goal:g}, as odesteer does",
            "Lower the strength, or raise gamma.",
        )
    return float(brentq(lambda rate: length(rate) - goal, low, high, rtol=1e-12))


@dataclass(frozen=True)
class GradientAscentOptions(FlowOptions):
    """As for odesteer; `steps` are the steps along the gradient."""


class GradientAscent(SiteMethod):
    """Ascent on the barrier of odesteer."""

    name = "gradient_ascent"
    summary = "K plain gradient steps on ODESteer's barrier, as far as odesteer goes"
    seeded = True
    has = frozenset({BARRIER})
    kinds = (GradientAscentSteerer,)
    Options = GradientAscentOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """The same barrier as odesteer from this seed."""
        solver = SolverOptions(options.solver, options.steps, options.tolerance)
        flow = fit_flow(data, options, seed, solver)
        rows = data.negative[:: max(1, len(data.negative) // REFERENCE_ROWS)][:REFERENCE_ROWS]
        return GradientAscentSteerer(
            flow, rows.float(), dimension=flow.dimension, median_norm=flow.median_norm
        )
