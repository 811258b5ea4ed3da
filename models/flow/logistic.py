"""L2-regularised logistic regression, solved where it is smallest.

The optimum lies in the span of the samples, so with fewer samples than features the problem is
solved in coordinates of that span: an [n, n] problem instead of [n, features], the same optimum.
"""

from __future__ import annotations

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from steereval.errors import FitError


def fit_logistic(
    positive: Tensor, negative: Tensor, penalty_inverse: float, max_iterations: int
) -> tuple[Tensor, float]:
    """Weights [f] and intercept of the log-odds of "positive", in float64.

    Features `positive` [n+, f] and `negative` [n-, f]; `penalty_inverse` is scikit-learn's C,
    the intercept is not penalised. Raises FitError if the solver does not converge.
    """
    samples = torch.cat([positive, negative]).double()
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).numpy()
    if samples.shape[0] < samples.shape[1]:
        coordinates, span = _coordinates_in_span(samples)
        weights, intercept = _solve(coordinates, labels, penalty_inverse, max_iterations)
        return span @ weights, intercept
    return _solve(samples, labels, penalty_inverse, max_iterations)


def _coordinates_in_span(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates [n, r] of the samples [n, f] in an orthonormal basis [f, r] of their span."""
    values, vectors = torch.linalg.eigh(samples @ samples.T)
    keep = values > values[-1] * 1e-13
    scale = values[keep].sqrt()
    return vectors[:, keep] * scale, samples.T @ (vectors[:, keep] / scale)


def _solve(
    samples: Tensor, labels: object, penalty_inverse: float, max_iterations: int
) -> tuple[Tensor, float]:
    solver = LogisticRegression(C=penalty_inverse, max_iter=max_iterations, tol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            solver.fit(samples.numpy(), labels)
        except ConvergenceWarning:
            raise FitError(
                f"the logistic regression did not converge in {max_iterations} iterations",
                "Raise max_iterations, or lower C.",
            ) from None
    return torch.from_numpy(solver.coef_[0].copy()), float(solver.intercept_[0])
