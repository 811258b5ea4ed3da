"""ODESteer's flow with random Fourier features in place of the polynomial sketch.

Zhao et al. 2026 (arXiv 2602.17560), the variant with the Gaussian kernel; features of Rahimi and
Recht 2007: phi(x) = sqrt(2/D) cos(W x + b), W ~ N(0, 1)/sigma, sigma the median distance between
samples over sqrt(2). The features see the length of x too, so this flow does not keep the norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.barrier_flow import (
    BarrierFlow,
    LogisticOptions,
    SolverOptions,
    above_zero,
)
from steereval.models.methods.method import BARRIER, FLOW, SiteMethod
from steereval.models.methods.odesteer import fit_barrier, log_class_ratio
from steereval.models.steering.steerer import Steerer, median_norm

DISTANCE_SAMPLES = 2000
"""Samples among which the median distance is taken."""


@dataclass(frozen=True)
class FourierOptions(SolverOptions, LogisticOptions):
    """How the barrier is made and its flow integrated."""

    components: int = 8000
    """Number of features."""
    bandwidth: float = 0.0
    """sigma of the Gaussian kernel; 0: the median distance over sqrt(2)."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        LogisticOptions.__post_init__(self)
        SolverOptions.__post_init__(self)
        above_zero(self, "components")
        if self.bandwidth < 0:
            raise ValueError(f"bandwidth must not be below 0, not {self.bandwidth}")
        if self.solver == "exponential":
            raise ValueError("solver exponential keeps the norm, which this flow does not")


@dataclass(frozen=True)
class FourierFlow(BarrierFlow):
    """The flow of a barrier on random Fourier features."""

    method: ClassVar[str] = "fourier_flow"

    frequencies: Tensor
    """W [D, d]."""
    phases: Tensor
    """b [D], in radians."""
    coef: Tensor
    """Weights [D] of the logistic regression."""

    def weighted(self, x: Tensor) -> Tensor:
        """w . phi(x)."""
        waves = torch.cos(self._angles(x))
        scale: float = (2 / len(self.coef)) ** 0.5
        return scale * (waves @ self.coef.to(x.dtype))

    def gradient(self, x: Tensor) -> Tensor:
        """-sqrt(2/D) W^T (w * sin(W x + b))."""
        slopes = torch.sin(self._angles(x)) * self.coef.to(x.dtype)
        scale: float = (2 / len(self.coef)) ** 0.5
        return -scale * (slopes @ self.frequencies.to(x.dtype))

    def _angles(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(
            x, self.frequencies.to(x.dtype), self.phases.to(x.dtype)
        )  # fmt: skip


class RffOdeSteer(SiteMethod):
    """ODESteer on a Gaussian kernel."""

    name = "rff_odesteer"
    summary = "ODESteer with random Fourier features (Gaussian kernel)"
    seeded = True
    has = frozenset({BARRIER, FLOW})
    kinds = (FourierFlow,)
    Options = FourierOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Draw frequencies and phases from `seed`, fit the barrier."""
        generator = torch.Generator().manual_seed(seed)
        width, count = data.positive.shape[1], options.components
        sigma = options.bandwidth or _bandwidth(data, generator)
        drawn = torch.randn(count, width, generator=generator, dtype=torch.float64)
        phases = 2 * torch.pi * torch.rand(count, generator=generator, dtype=torch.float64)
        frequencies = drawn / sigma
        parts = [
            (2 / count) ** 0.5 * torch.cos(part.double() @ frequencies.T + phases)
            for part in (data.positive, data.negative)
        ]
        coef, intercept = fit_barrier(parts[0], parts[1], options)
        return FourierFlow(
            frequencies=frequencies.float(),
            phases=phases.float(),
            coef=coef.float(),
            intercept=intercept,
            log_class_ratio=log_class_ratio(data),
            solver=options.solver,
            steps=options.steps,
            tolerance=options.tolerance,
            dimension=width,
            median_norm=median_norm(data.positive, data.negative),
        )


def _bandwidth(data: SiteData, generator: torch.Generator) -> float:
    """Median distance between samples of both classes over sqrt(2)."""
    both = torch.cat([data.positive, data.negative]).double()
    chosen = both[torch.randperm(len(both), generator=generator)[:DISTANCE_SAMPLES]]
    distance = float(torch.pdist(chosen).median())
    if not distance > 0:
        raise FitError(
            "half of the activations are the same, so the kernel has no width",
            "Give a bandwidth above 0.",
        )
    return distance / math.sqrt(2)
