"""ODESteer's flow with a linear barrier on the sphere: how much does the polynomial add?

Degree 1 of the same kernel: a logistic probe on sqrt(gamma) x/|x|. The flow turns x along a great
circle towards the probe's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.models.fitting.contrast_data import SiteData
from steereval.models.flow.quadratic import WALKS, QuadraticForm
from steereval.models.flow.sketch import over_norm, safe_norm
from steereval.models.methods.barrier_flow import (
    BarrierFlow,
    LogisticOptions,
    SolverOptions,
    above_zero,
)
from steereval.models.methods.method import BARRIER, FLOW, SiteMethod
from steereval.models.methods.odesteer import fit_barrier, log_class_ratio
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class LinearSphereOptions(SolverOptions, LogisticOptions):
    """How the barrier is made and its flow integrated."""

    gamma: float = 0.1
    """Weight of the inner product in the kernel, as for odesteer."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        LogisticOptions.__post_init__(self)
        SolverOptions.__post_init__(self)
        above_zero(self, "gamma")


@dataclass(frozen=True)
class LinearSphereFlow(BarrierFlow):
    """The flow of a barrier that is linear in x/|x|."""

    method: ClassVar[str] = "linear_sphere_flow"

    weights: Tensor
    """Weights [d] on x/|x|."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x(T) from x(0) = x."""
        if self.solver not in WALKS:
            return super().move(x, strength, state)
        form = QuadraticForm(torch.empty(0), torch.zeros_like(self.weights), self.weights, 0.0)
        return x + form.walk(x, strength, self.steps, self.solver)

    def weighted(self, x: Tensor) -> Tensor:
        """w . x/|x|."""
        return (x / safe_norm(x)) @ self.weights.to(x.dtype)

    def gradient(self, x: Tensor) -> Tensor:
        """The part of w orthogonal to x, over |x|."""
        unit, weights = x / safe_norm(x), self.weights.to(x.dtype)
        return over_norm(weights - (unit @ weights)[..., None] * unit, x)


class LinearSphere(SiteMethod):
    """The flow towards a linear probe's weights."""

    name = "linear_sphere"
    summary = "ODESteer's flow with a linear barrier on x/|x|"
    has = frozenset({BARRIER, FLOW})
    kinds = (LinearSphereFlow,)
    Options = LinearSphereOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """A probe on the sphere."""
        scale = options.gamma**0.5
        positive, negative = (
            scale * part.double() / safe_norm(part.double())
            for part in (data.positive, data.negative)
        )
        weights, intercept = fit_barrier(positive, negative, options)
        return LinearSphereFlow(
            weights=(scale * weights).float(),
            intercept=intercept,
            log_class_ratio=log_class_ratio(data),
            solver=options.solver,
            steps=options.steps,
            tolerance=options.tolerance,
            dimension=len(weights),
            median_norm=median_norm(data.positive, data.negative),
        )
