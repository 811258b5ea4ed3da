"""MiMiC: Gaussian optimal transport of the negative class onto the positive one.

Singh et al. 2024, "Representation Surgery: Theory and Practice of Affine Steering"
(arXiv 2402.09631), with a logistic probe that leaves alone what already looks positive, as Zhao et
al. 2026 run it. Where their code ignores the strength, T interpolates here, T = 1 being theirs; the
fit is in float64, so that fewer samples than dimensions give no NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.barrier_flow import LogisticOptions
from steereval.models.methods.iti import probe
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class MimicOptions(LogisticOptions):
    """How the transport is estimated."""

    regularisation: float = 1e-2
    """Added to the variances of both classes."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        super().__post_init__()
        if not self.regularisation >= 0:
            raise ValueError(f"regularisation must not be below 0, not {self.regularisation}")


@dataclass(frozen=True)
class GaussianTransport(Steerer):
    """x + T (A (x - mean(N)) + mean(P) - x) where the probe says negative."""

    method: ClassVar[str] = "gaussian_transport"

    change: Tensor
    """A - 1, symmetric [d, d]."""
    source: Tensor
    """Mean of the negative class [d]."""
    between: Tensor
    """mean(P) - mean(N) [d]."""
    weights: Tensor
    """Weights [d] of the probe."""
    intercept: float
    """Intercept of the probe."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Rows that look positive are left alone."""
        moved = torch.add(x, self.displacement(x), alpha=strength)
        return torch.where(self.looks_positive(x)[..., None], x, moved)

    def looks_positive(self, x: Tensor) -> Tensor:
        """Whether the probe says positive [...] at x [..., d]."""
        return x @ self.weights.to(x.dtype) > -self.intercept

    def displacement(self, x: Tensor) -> Tensor:
        """From x to where the transport takes it, whatever the probe says."""
        centred = x - self.source.to(x.dtype)
        return F.linear(centred, self.change.to(x.dtype), self.between.to(x.dtype))


class Mimic(SiteMethod):
    """Matches mean and covariance of the positive class."""

    name = "mimic"
    summary = "MiMiC: Gaussian optimal transport from negative to positive activations"
    kinds = (GaussianTransport,)
    Options = MimicOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """The optimal map between the two Gaussians, and the probe."""
        weights, intercept = probe(data, options, self.name)
        positive, negative = data.positive.double(), data.negative.double()
        target, source = positive.mean(dim=0), negative.mean(dim=0)
        extra = options.regularisation
        change = transport(covariance(negative, extra), covariance(positive, extra))
        change -= torch.eye(len(source), dtype=torch.float64)
        return GaussianTransport(
            change=change.float(),
            source=source.float(),
            between=(target - source).float(),
            weights=weights.float(),
            intercept=intercept,
            dimension=len(source),
            median_norm=median_norm(data.positive, data.negative),
        )


def covariance(rows: Tensor, regularisation: float) -> Tensor:
    """Covariance [d, d] of rows [n, d], divided by n, with `regularisation` on the diagonal."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / len(rows) + regularisation * torch.eye(
        rows.shape[1], dtype=rows.dtype
    )


def transport(source: Tensor, target: Tensor) -> Tensor:
    """A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2 for covariances S, T [d, d]: symmetric, A S A = T."""
    values, vectors = torch.linalg.eigh(source)
    # A direction in which nothing varies, without regularisation: it has nothing to be scaled.
    values = values.clamp_min(1e-12 * values[-1])
    root = (vectors * values.sqrt()) @ vectors.T
    inverse = (vectors / values.sqrt()) @ vectors.T
    between, axes = torch.linalg.eigh(root @ target @ root)
    middle = (axes * between.clamp_min(0).sqrt()) @ axes.T
    mapping: Tensor = inverse @ middle @ inverse
    return (mapping + mapping.T) / 2
