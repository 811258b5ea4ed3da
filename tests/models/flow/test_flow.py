"""The flow's parts against closed forms, autograd, brute force and scipy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

from steereval.common.errors import CellError
from steereval.models.flow.choice import prefers_exact
from steereval.models.flow.integrators import FIXED, SOLVERS, displacement
from steereval.models.flow.quadratic import WALKS, QuadraticForm
from steereval.models.flow.sketch import PolynomialSketch
from steereval.models.methods.odesteer import PolynomialFlow, odesteer_from_sketch

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4, "exponential": 1}
EVALUATIONS = {"euler": 1, "midpoint": 2, "rk4": 4, "exponential": 1}
each_solver = pytest.mark.parametrize("solver", SOLVERS)
each_fixed = pytest.mark.parametrize("solver", sorted(FIXED))


def test_every_solver_has_an_order_to_prove() -> None:
    assert ORDERS.keys() == FIXED.keys()
    assert set(SOLVERS) == {*FIXED, "adaptive"}


def rotation(x: Tensor) -> Tensor:
    """x' = J x / |x| in the plane: uniform motion along a circle."""
    return torch.stack([-x[..., 1], x[..., 0]], dim=-1) / x.norm(dim=-1, keepdim=True)


def decay(x: Tensor) -> Tensor:
    """x' = -x^2, with x(t) = 1 / (1/x(0) + t)."""
    return -(x**2)


NORTH = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def ascent(x: Tensor) -> Tensor:
    """The part of a fixed vector that is tangent to the sphere through x."""
    unit = x / x.norm(dim=-1, keepdim=True)
    return NORTH - (unit @ NORTH)[..., None] * unit


def ascended(time: float) -> tuple[Tensor, Tensor]:
    """Start and end on the unit sphere: tan(theta/2) falls as exp(-t), theta the polar angle."""
    angles = [2.0, 2 * math.atan(math.tan(1.0) * math.exp(-time))]
    polar = torch.tensor(angles, dtype=torch.float64)
    around = torch.tensor([0.6, 0.8], dtype=torch.float64)
    ends = torch.cat([polar.sin()[:, None] * around, polar.cos()[:, None]], dim=1)
    return ends[0], ends[1]


def order(errors: list[float], steps: list[int]) -> float:
    """Minus the slope of log error over log steps, by least squares."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4"])
def test_order_on_a_circle(solver: str) -> None:
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    angle = torch.tensor(3.0 / 2.0, dtype=torch.float64)
    end = 2 * torch.stack([angle.cos(), angle.sin()])
    steps = [20, 40, 80, 160]
    errors = [
        float((start + displacement(rotation, start, 3.0, k, solver) - end).norm()) for k in steps
    ]
    assert order(errors, steps) == pytest.approx(ORDERS[solver], abs=0.1)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4"])
def test_order_on_a_nonlinear_decay(solver: str) -> None:
    start = torch.tensor([1.0, 0.5], dtype=torch.float64)
    end = 1 / (1 / start + 2.0)
    steps = [20, 40, 80, 160]
    errors = [
        float((start + displacement(decay, start, 2.0, k, solver) - end).norm()) for k in steps
    ]
    assert order(errors, steps) == pytest.approx(ORDERS[solver], abs=0.15)


@each_fixed
def test_order_on_the_sphere(solver: str) -> None:
    start, end = ascended(1.5)
    steps = [20, 40, 80, 160]
    errors = [
        float((start + displacement(ascent, start, 1.5, k, solver) - end).norm()) for k in steps
    ]
    assert order(errors, steps) == pytest.approx(ORDERS[solver], abs=0.15)


def test_the_exponential_map_is_exact_on_a_circle() -> None:
    """One step of any length, since the flow is a great circle."""
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    end = 2 * torch.tensor([math.cos(1.5), math.sin(1.5)], dtype=torch.float64)
    assert torch.allclose(start + displacement(rotation, start, 3.0, 1, "exponential"), end)


@given(seed=st.integers(0, 999), steps=st.integers(1, 9), duration=st.floats(-9, 9))
def test_the_exponential_map_keeps_the_norm(seed: int, steps: int, duration: float) -> None:
    x = points(seed, 4, 3, 5.0)
    end = x + displacement(ascent, x, duration, steps, "exponential")
    assert torch.allclose(end.norm(dim=1), x.norm(dim=1), rtol=1e-12)


@each_fixed
@given(steps=st.integers(1, 40), duration=st.floats(-50, 50))
def test_exactly_the_steps_asked_for(solver: str, steps: int, duration: float) -> None:
    """No step more where duration / steps is not exact."""
    calls = 0

    def field(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.ones_like(x)

    moved = displacement(field, torch.zeros(3, dtype=torch.float64), duration, steps, solver)
    assert calls == steps * EVALUATIONS[solver]
    if solver != "exponential":
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


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("first", [1, 300])
def test_the_adaptive_solver_keeps_its_tolerance(tolerance: float, first: int) -> None:
    """Whatever its first step, and not by taking far more steps than it needs."""
    start, end = ascended(1.5)
    calls = 0

    def field(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return ascent(x)

    result = start + displacement(field, start, 1.5, first, "adaptive", tolerance)
    assert float((result - end).norm()) < 10 * tolerance
    assert calls < 7 * 60


def test_the_adaptive_solver_is_scipys_on_a_flow() -> None:
    """A barrier's flow over a long time, integrated by another library to twelve digits."""
    flow = flow_of(3, 12, 60, 0.7, 0.5, "adaptive", 5)
    x = points(4, 3, 12, 2.0)
    result = x + displacement(flow.field, x, 4.0, 5, "adaptive", 1e-7)
    for row, end in zip(x, result, strict=True):
        solved = solve_ivp(
            lambda _, y: flow.field(torch.from_numpy(y)[None])[0].numpy(),
            (0.0, 4.0),
            row.numpy(),
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
        )
        assert np.allclose(end.numpy(), solved.y[:, -1], atol=1e-6)


@pytest.mark.slow
@given(seed=st.integers(0, 99))
@settings(max_examples=4)
def test_adaptive_steps_do_not_depend_on_the_batch(seed: int) -> None:
    """A stiff row beside an easy one changes nothing for either."""
    flow = flow_of(seed, 8, 60, 1.0, 0.1, "adaptive", 2)
    x = points(seed, 5, 8) * torch.tensor([1e-2, 1.0, 10.0, 100.0, 0.3])[:, None]
    whole = flow(x, 3.0)
    for index in range(5):
        assert torch.allclose(flow(x[index : index + 1], 3.0)[0], whole[index], atol=1e-6)


@pytest.mark.slow
def test_the_adaptive_solver_gives_up_in_the_end() -> None:
    with pytest.raises(CellError, match="did not reach time 1 in 10000 steps"):
        displacement(lambda x: torch.sign(x - 0.5), torch.zeros(1, 1), 1.0, 1, "adaptive", 1e-30)


def test_a_value_that_is_not_a_number_ends_the_adaptive_solver() -> None:
    moved = displacement(lambda x: x * torch.nan, torch.ones(2, 3), 1.0, 4, "adaptive")
    assert bool(moved.isnan().all())


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
    values = torch.zeros(sketch.components, dtype=torch.float64)
    degree, count = sketch.index_hash.shape
    for chosen in np.ndindex(*([count] * degree)):
        place = sum(int(sketch.index_hash[k, i]) for k, i in enumerate(chosen))
        value = math.prod(float(sketch.sign_hash[k, i] * entries[i]) for k, i in enumerate(chosen))
        values[place % sketch.components] += value
    return values


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
    result = []
    for seed in range(400):
        sketch, _ = sketch_of(seed, degree, 5, 16, 0.8, 0.5)
        result.append(float(sketch.features(x) @ sketch.features(y)))
    wanted = float(0.8 * torch.nn.functional.cosine_similarity(x, y, dim=0) + 0.5) ** degree
    error = float(np.std(result, ddof=1) / math.sqrt(len(result)))
    assert error < 0.1
    assert abs(float(np.mean(result)) - wanted) < 4 * error


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@settings(max_examples=40)
@given(seed=seeds, width=widths, components=sizes, gamma=gammas, coef0=constants, scale=scales)
def test_gradient_is_autograds(
    degree: int, seed: int, width: int, components: int, gamma: float, coef0: float, scale: float
) -> None:
    sketch, weights = sketch_of(seed, degree, width, components, gamma, coef0)
    x = points(seed, 3, width, scale).requires_grad_(True)
    (wanted,) = torch.autograd.grad(sketch.dot(x, weights).sum(), x)
    result = sketch.tangent_gradient(x.detach(), weights)
    norms = x.detach().norm(dim=1, keepdim=True)
    assert torch.allclose(
        result, wanted * norms, atol=1e-9 * (1 + float(weights.norm()) * 10**degree)
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


@pytest.mark.parametrize("solver", WALKS)
@settings(max_examples=25)
@given(
    seed=seeds,
    strength=st.sampled_from([-30.0, 1e-3, 4.0]),
    steps=st.integers(1, 12),
    scale=st.sampled_from([0.0, 1e-3, 10.0]),
)
def test_the_walk_is_the_solver_on_the_field(
    solver: str, seed: int, strength: float, steps: int, scale: float
) -> None:
    form = flow_of(seed, 16, 200, 0.1, 1.0, solver, steps).quadratic
    assert form is not None
    z = points(seed, 4, 16, scale).double()
    expected = displacement(form.direction, z, strength, steps, solver)
    result = form.walk(z, strength, steps, solver)
    assert torch.allclose(result, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", WALKS)
@pytest.mark.parametrize("width", [1, 3])
def test_where_the_field_vanishes_nothing_moves(solver: str, width: int) -> None:
    """At the pole that a linear barrier points to, and wherever there is one dimension."""
    pole = torch.eye(width)[0]
    form = QuadraticForm(torch.eye(width), torch.zeros(width), 2 * pole, 0.0)
    states = torch.stack([3 * pole, -5 * pole])
    assert torch.equal(form.walk(states, 4.0, 6, solver), torch.zeros(2, width))
    assert torch.equal(displacement(form.direction, states, 4.0, 6, solver), torch.zeros(2, width))


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_the_cheaper_way_is_chosen_by_shape(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact flow above so many evaluations, and always for narrow models."""
    table = {"cpu": ((16, limit),)}
    monkeypatch.setattr("steereval.models.flow.choice.SKETCH_UP_TO", table)
    for steps, rows, solver in ((1, 1, "euler"), (2, 3, "midpoint"), (10, 1, "rk4")):
        evaluations = steps * EVALUATIONS[solver]
        assert prefers_exact(torch.empty(rows, 16), steps, solver) == (evaluations > limit)
        assert prefers_exact(torch.empty(rows, 15), steps, solver)
        assert prefers_exact(torch.empty(rows, 16, device="meta"), steps, solver)


def test_the_way_chosen_is_the_way_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sketch where the table says so, and both end in the same place."""
    flow, x = flow_of(0, 16, 200, 0.1, 1.0, "euler", 2), points(0, 3, 16)
    exact = flow(x, 2.0)
    monkeypatch.setattr(QuadraticForm, "walk", None)
    with pytest.raises(TypeError):
        flow(x, 2.0)
    monkeypatch.setattr("steereval.models.flow.choice.SKETCH_UP_TO", {"cpu": ((1, 2),)})
    assert torch.allclose(flow(x, 2.0), exact, atol=1e-5)
    with pytest.raises(TypeError):
        flow_of(0, 16, 200, 0.1, 1.0, "euler", 3)(x, 2.0)


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


@pytest.mark.slow
def test_nothing_breaks_at_the_origin() -> None:
    for solver in SOLVERS:
        flow = flow_of(0, 6, 30, 0.1, 1.0, solver, 3)
        for chosen in (flow, without_form(flow)):
            assert torch.isfinite(chosen(torch.zeros(2, 6), 3.0)).all()
    for chosen in (flow, without_form(flow)):
        assert torch.isfinite(chosen.field(torch.zeros(2, 6))).all()
