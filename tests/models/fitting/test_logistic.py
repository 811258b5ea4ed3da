"""Logistic regression against scikit-learn and against the conditions of its optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.logistic import fit_logistic


def features(samples: int, width: int, seed: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = (samples, rank or width)
    data = torch.randn(*shape, generator=draw, dtype=torch.float64)
    if rank:
        data = data @ torch.randn(rank, width, generator=draw, dtype=torch.float64)
    half = samples // 2
    return data[:half] + 0.3, data[half:]


@pytest.mark.parametrize(
    ("samples", "width", "rank"),
    [(60, 10, None), (20, 50, None), (20, 50, 5), (60, 10, 3), (10, 10, None)],
)
@pytest.mark.parametrize("inverse", [0.1, 1.0, 10.0])
def test_logistic_regression_is_scikit_learns(
    samples: int, width: int, rank: int | None, inverse: float
) -> None:
    positive, negative = features(samples, width, 3, rank)
    weights, intercept = fit_logistic(positive, negative, inverse, 5000)
    direct = LogisticRegression(C=inverse, max_iter=50_000, tol=1e-10)
    labels = [1] * len(positive) + [0] * len(negative)
    direct.fit(torch.cat([positive, negative]).numpy(), labels)
    assert weights.shape == (width,)
    assert weights.dtype == torch.float64
    assert np.allclose(weights.numpy(), direct.coef_[0], atol=1e-4)
    assert intercept == pytest.approx(float(direct.intercept_[0]), abs=1e-4)


@pytest.mark.parametrize(("samples", "width"), [(60, 10), (20, 50)])
def test_logistic_regression_is_where_the_gradient_vanishes(samples: int, width: int) -> None:
    """w = C Σ (y - p) x and Σ (y - p) = 0, whichever way it was solved, small features too."""
    scales = torch.logspace(0, -2, width, dtype=torch.float64)
    positive, negative = (part * scales for part in features(samples, width, 4))
    weights, intercept = fit_logistic(positive, negative, 2.0, 5000)
    data = torch.cat([positive, negative])
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).double()
    rest = labels - torch.sigmoid(data @ weights + intercept)
    assert torch.allclose(weights, 2.0 * data.T @ rest, atol=1e-5)
    assert float(rest.sum()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("samples", "width"), [(60, 10), (20, 50)])
def test_logistic_regression_that_does_not_converge(samples: int, width: int) -> None:
    positive, negative = features(samples, width, 4)
    with pytest.raises(FitError, match="did not converge in 2 iterations"):
        fit_logistic(positive, negative, 100.0, 2)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    samples=st.integers(4, 60),
    width=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 200.0]),
    offset=st.sampled_from([0.0, 50.0]),
    inverse=st.sampled_from([1e-2, 1.0, 100.0]),
)
def test_the_objective_is_never_above_scikit_learns(
    seed: int, samples: int, width: int, scale: float, offset: float, inverse: float
) -> None:
    """On data of any scale, separable or not, centred or far from the origin."""
    positive, negative = (scale * (part + offset) for part in features(samples, width, seed))
    data, labels = torch.cat([positive, negative]), [1] * len(positive) + [0] * len(negative)
    direct = LogisticRegression(C=inverse, solver="newton-cg", max_iter=10_000, tol=1e-8)
    direct.fit(data.numpy(), labels)
    signs = torch.tensor(labels, dtype=torch.float64) * 2 - 1

    def objective(weights: Tensor, intercept: float) -> float:
        losses = torch.nn.functional.softplus(-signs * (data @ weights + intercept))
        return float(0.5 * weights @ weights + inverse * losses.sum())

    theirs = objective(torch.from_numpy(direct.coef_[0]), float(direct.intercept_[0]))
    ours = objective(*fit_logistic(positive, negative, inverse, 1000))
    assert ours <= theirs * (1 + 1e-7) + 1e-9


def test_without_an_intercept() -> None:
    positive, negative = features(60, 5, 2)
    weights, intercept = fit_logistic(positive, negative, 1.0, intercept=False)
    direct = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=10_000)
    direct.fit(torch.cat([positive, negative]).numpy(), [1] * 30 + [0] * 30)
    assert intercept == 0.0
    assert np.allclose(weights.numpy(), direct.coef_[0], atol=1e-5)


def test_nothing_to_tell_the_classes_apart() -> None:
    """The chances of the classes are all that is left."""
    weights, intercept = fit_logistic(torch.ones(30, 4), torch.ones(10, 4))
    assert torch.equal(weights, torch.zeros(4).double())
    assert intercept == pytest.approx(np.log(3), abs=1e-6)
