"""The flow's parts against closed forms, autograd, brute force and scikit-learn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from steereval.errors import FitError
from steereval.models.flow.integrators import SOLVERS, displacement
from steereval.models.flow.logistic import fit_logistic
from steereval.models.flow.sketch import PolynomialSketch
from steereval.models.methods.odesteer import PolynomialFlow, odesteer_from_sketch

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
each_solver = pytest.mark.parametrize("solver", sorted(SOLVERS))


def test_every_solver_has_an_order_to_prove() -> None:
    assert ORDERS.keys() == SOLVERS.keys()


def rotation(x: Tensor) -> Tensor:
    """x' = J x / |x| in the plane: uniform motion along a circle."""
    return torch.stack([-x[..., 1], x[..., 0]], dim=-1) / x.norm(dim=-1, keepdim=True)


def decay(x: Tensor) -> Tensor:
    """x' = -x^2, with x(t) = 1 / (1/x(0) + t)."""
    return -(x**2)


def order(errors: list[float], steps: list[int]) -> float:
    """Minus the slope of log error over log steps, by least squares."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@each_solver
def test_order_on_a_circle(solver: str) -> None:
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    angle = torch.tensor(3.0 / 2.0, dtype=torch.float64)
    end = 2 * torch.stack([angle.cos(), angle.sin()])
    steps = [20, 40, 80, 160]
    errors = [
        float((start + displacement(rotation, start, 3.0, k, solver) - end).norm()) for k in steps
    ]
    assert order(errors, steps) == pytest.approx(ORDERS[solver], abs=0.1)


@each_solver
def test_order_on_a_nonlinear_decay(solver: str) -> None:
    start = torch.tensor([1.0, 0.5], dtype=torch.float64)
    end = 1 / (1 / start + 2.0)
    steps = [20, 40, 80, 160]
    errors = [
        float((start + displacement(decay, start, 2.0, k, solver) - end).norm()) for k in steps
    ]
    assert order(errors, steps) == pytest.approx(ORDERS[solver], abs=0.15)


@each_solver
@given(steps=st.integers(1, 40), duration=st.floats(-50, 50))
def test_exactly_the_steps_asked_for(solver: str, steps: int, duration: float) -> None:
    """No step more where duration / steps is not exact; one field evaluation for each order."""
    calls = 0

    def field(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.ones_like(x)

    moved = displacement(field, torch.zeros(3, dtype=torch.float64), duration, steps, solver)
    assert calls == steps * ORDERS[solver]
    assert torch.allclose(moved, torch.full_like(moved, duration), atol=1e-9)


@each_solver
def test_no_time_no_displacement(solver: str) -> None:
    assert torch.equal(displacement(rotation, torch.ones(4, 2), 0.0, 7, solver), torch.zeros(4, 2))


@each_solver
def test_there_and_back(solver: str) -> None:
    start = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    there = start + displacement(rotation, start, 1.0, 200, solver)
    back = there + displacement(rotation, there, -1.0, 200, solver)
    assert torch.allclose(back, start, atol=5e-3)


def sketch_of(
    seed: int, degree: int, width: int, components: int, gamma: float = 0.1, coef0: float = 1.0
) -> tuple[PolynomialSketch, Tensor]:
    """Hash functions and weights [components] from a seed."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(components, generator=draw, dtype=torch.float64)
    return PolynomialSketch.draw(width, degree, components, gamma, coef0, seed), weights


def points(seed: int, rows: int, width: int, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(7000 + seed)
    return scale * torch.randn(rows, width, generator=draw, dtype=torch.float64)


seeds = st.integers(0, 10_000)
widths = st.integers(2, 12)
sizes = st.integers(3, 40)
gammas = st.floats(0.05, 3)
constants = st.sampled_from([0.0, 0.3, 1.0, 2.5])
scales = st.sampled_from([1e-3, 1.0, 170.0])


def features_by_hand(sketch: PolynomialSketch, x: Tensor) -> Tensor:
    """Sum over all index tuples of the product of signed entries at the summed hash."""
    entries = torch.cat([sketch.gamma**0.5 * x / x.norm(), x.new_tensor([sketch.coef0**0.5])])
    found = torch.zeros(sketch.components, dtype=torch.float64)
    degree, count = sketch.index_hash.shape
    for chosen in np.ndindex(*([count] * degree)):
        place = sum(int(sketch.index_hash[k, i]) for k, i in enumerate(chosen))
        value = math.prod(float(sketch.sign_hash[k, i] * entries[i]) for k, i in enumerate(chosen))
        found[place % sketch.components] += value
    return found


@pytest.mark.parametrize("degree", [1, 2, 3])
@settings(max_examples=15)
@given(seed=seeds, width=st.integers(2, 4), components=sizes, gamma=gammas, coef0=constants)
def test_features_by_brute_force(
    degree: int, seed: int, width: int, components: int, gamma: float, coef0: float
) -> None:
    sketch, _ = sketch_of(seed, degree, width, components, gamma, coef0)
    x = points(seed, 1, width)
    assert torch.allclose(sketch.features(x)[0], features_by_hand(sketch, x[0]), atol=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_inner_products_estimate_the_kernel(degree: int) -> None:
    """Over the hash functions they average to (gamma x.y + coef0)^degree: four standard errors."""
    x, y = points(0, 2, 5)
    found = []
    for seed in range(400):
        sketch, _ = sketch_of(seed, degree, 5, 16, 0.8, 0.5)
        found.append(float(sketch.features(x) @ sketch.features(y)))
    wanted = float(0.8 * torch.nn.functional.cosine_similarity(x, y, dim=0) + 0.5) ** degree
    error = float(np.std(found, ddof=1) / math.sqrt(len(found)))
    assert error < 0.1
    assert abs(float(np.mean(found)) - wanted) < 4 * error


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@settings(max_examples=40)
@given(seed=seeds, width=widths, components=sizes, gamma=gammas, coef0=constants, scale=scales)
def test_gradient_is_autograds(
    degree: int, seed: int, width: int, components: int, gamma: float, coef0: float, scale: float
) -> None:
    sketch, weights = sketch_of(seed, degree, width, components, gamma, coef0)
    x = points(seed, 3, width, scale).requires_grad_(True)
    (wanted,) = torch.autograd.grad(sketch.dot(x, weights).sum(), x)
    found = sketch.tangent_gradient(x.detach(), weights)
    norms = x.detach().norm(dim=1, keepdim=True)
    assert torch.allclose(
        found, wanted * norms, atol=1e-9 * (1 + float(weights.norm()) * 10**degree)
    )


def flow_of(
    seed: int, width: int, components: int, gamma: float, coef0: float, solver: str, steps: int
) -> PolynomialFlow:
    sketch, weights = sketch_of(seed, 2, width, components, gamma, coef0)
    return odesteer_from_sketch(
        sketch.index_hash, sketch.sign_hash, weights, 0.3, 2, gamma, coef0, solver, steps
    )


def without_form(flow: PolynomialFlow) -> PolynomialFlow:
    """The same flow, computed with the sketch."""
    return replace(flow, basis=torch.empty(0))


@settings(max_examples=60)
@given(seed=seeds, width=widths, components=sizes, gamma=gammas, coef0=constants)
def test_the_quadratic_form_is_the_sketch(
    seed: int, width: int, components: int, gamma: float, coef0: float
) -> None:
    """Value and gradient, in float64 with the form's own tensors in float32."""
    flow = flow_of(seed, width, components, gamma, coef0, "euler", 3)
    x = points(seed, 4, width, 5.0)
    slow = without_form(flow)
    assert flow.quadratic is not None
    assert slow.quadratic is None
    size = float(flow.coef.norm()) * (gamma + coef0)
    assert torch.allclose(flow.log_odds(x), slow.log_odds(x), atol=1e-5 * (1 + size))
    gradient = slow.sketch.tangent_gradient(x, slow.coef).norm(dim=1)
    clear = gradient > 1e-2 * gamma * float(flow.coef.norm())
    assert torch.allclose(flow.field(x)[clear], slow.field(x)[clear], atol=1e-3)


@each_solver
@settings(max_examples=25)
@given(seed=seeds, strength=st.sampled_from([-3.0, 0.5, 4.0]), steps=st.integers(1, 6))
def test_endpoints_of_form_and_sketch(solver: str, seed: int, strength: float, steps: int) -> None:
    flow = flow_of(seed, 16, 200, 0.1, 1.0, solver, steps)
    x = points(seed, 4, 16, 10.0)
    assert torch.allclose(flow(x, strength), without_form(flow)(x, strength), atol=1e-3)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@settings(max_examples=30)
@given(seed=seeds, scale=scales)
def test_the_field_is_a_unit_tangent(degree: int, seed: int, scale: float) -> None:
    sketch, weights = sketch_of(seed, degree, 10, 60)
    flow = odesteer_from_sketch(sketch.index_hash, sketch.sign_hash, weights, 0.0, degree)
    x = points(seed, 5, 10, scale)
    for dtype, slack in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        given_points = x.to(dtype)
        field = flow.field(given_points)
        assert field.dtype == dtype
        assert torch.allclose(field.norm(dim=1), torch.ones(5, dtype=dtype), atol=slack)
        radial = (field * given_points).sum(dim=1) / given_points.norm(dim=1)
        assert torch.allclose(radial, torch.zeros(5, dtype=dtype), atol=slack)


@pytest.mark.parametrize("degree", [2, 3])
@settings(max_examples=30)
@given(seed=seeds, strength=st.sampled_from([0.5, 3.0, 20.0]), steps=st.integers(1, 10))
def test_euler_inflates_the_norm(degree: int, seed: int, strength: float, steps: int) -> None:
    """Each step is a leg of a right triangle: |x'|^2 = |x|^2 + (T/K)^2."""
    sketch, weights = sketch_of(seed, degree, 10, 60)
    flow = odesteer_from_sketch(
        sketch.index_hash, sketch.sign_hash, weights, 0.0, degree, steps=steps
    )
    x = points(seed, 5, 10, 4.0)
    squares = flow(x, strength).square().sum(dim=1)
    wanted = x.square().sum(dim=1) + steps * (strength / steps) ** 2
    assert torch.allclose(squares, wanted, rtol=1e-5)


@each_solver
@settings(max_examples=20)
@given(seed=seeds, scale=st.sampled_from([1e-3, 30.0]))
def test_the_field_does_not_depend_on_the_length(solver: str, seed: int, scale: float) -> None:
    """So an activation s times as long, steered s times as far, ends s times as far out."""
    flow = flow_of(seed, 10, 60, 0.1, 1.0, solver, 3)
    x = points(seed, 4, 10)
    assert torch.allclose(
        flow(scale * x, scale * 0.7), scale * flow(x, 0.7), rtol=1e-4, atol=1e-5 * scale
    )


def test_nothing_breaks_at_the_origin() -> None:
    flow = flow_of(0, 6, 30, 0.1, 1.0, "rk4", 3)
    for chosen in (flow, without_form(flow)):
        assert torch.isfinite(chosen(torch.zeros(2, 6), 3.0)).all()
        assert torch.isfinite(chosen.field(torch.zeros(2, 6))).all()


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
