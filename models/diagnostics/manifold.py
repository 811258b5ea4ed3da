"""How far activations are from natural ones.

Mahalanobis   sqrt((y - m)^T S^-1 (y - m)), with mean m and covariance S of natural activations,
              S shrunk towards a multiple of the identity as of Ledoit and Wolf 2004 (of
              scikit-learn), since there are often fewer activations than dimensions
neighbours    mean distance to the 10 nearest natural activations, in median norms
norm          |y| / |x|
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from steereval.common.errors import FitError

NEIGHBOURS = 10
"""Natural activations to which the distance is taken."""


@dataclass(frozen=True)
class Manifold:
    """Natural activations, as a Gaussian and as points."""

    natural: Tensor
    """The activations [m, d], float64."""
    mean: Tensor
    """Their mean [d]."""
    factor: Tensor
    """Lower Cholesky factor [d, d] of their shrunken covariance."""
    median_norm: float
    """Their median norm."""

    @classmethod
    def of(cls, natural: Tensor) -> Manifold:
        """Fit to natural activations [m, d]. Raises FitError for less than NEIGHBOURS, or if
        all are the same."""
        if len(natural) < NEIGHBOURS:
            raise FitError(
                f"{len(natural)} held-out positive activations are too few to know what is natural",
                f"Use a contrast set that leaves {NEIGHBOURS} or more.",
            )
        rows = natural.double()
        if not bool((rows != rows[0]).any()):
            raise FitError(
                "the held-out positive activations are all the same",
                "Check the contrast set and the layer.",
            )
        estimate = LedoitWolf().fit(rows.numpy())
        factor = torch.linalg.cholesky(torch.from_numpy(estimate.covariance_))
        return cls(rows, rows.mean(dim=0), factor, float(rows.norm(dim=1).median()))

    def mahalanobis(self, y: Tensor) -> Tensor:
        """Mahalanobis distance [...] of y [..., d]: about sqrt(d) for natural ones."""
        centred = (y.double() - self.mean).reshape(-1, y.shape[-1])
        whitened = torch.linalg.solve_triangular(self.factor, centred.T, upper=False)
        distances: Tensor = whitened.norm(dim=0)
        return distances.reshape(y.shape[:-1])

    def nearest(self, y: Tensor) -> Tensor:
        """Mean distance [...] of y [..., d] to the nearest natural activations, in median norms."""
        rows = y.double().reshape(-1, y.shape[-1])
        distances = torch.cdist(rows, self.natural)
        closest = distances.topk(NEIGHBOURS, dim=1, largest=False).values.mean(dim=1)
        return closest.reshape(y.shape[:-1]) / self.median_norm


def norm_ratio(x: Tensor, y: Tensor) -> Tensor:
    """|y| / |x| [..., n] for x [n, d] and y [..., n, d]."""
    ratio: Tensor = y.norm(dim=-1) / x.norm(dim=-1)
    return ratio
