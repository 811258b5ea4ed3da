"""ODESteer: follow the gradient of a polynomial log density ratio as an ODE.

Zhao et al., ICLR 2026 (arXiv 2602.17560). The features are a polynomial count sketch of x/|x|.
For degree 2 the exact quadratic form is integrated (`flow.quadratic`) wherever that is faster
than the sketch itself; it is the same flow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.common.errors import FitError, InputError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.fitting.logistic import fit_logistic
from steereval.models.flow.choice import prefers_exact
from steereval.models.flow.quadratic import WALKS, QuadraticForm
from steereval.models.flow.sketch import PolynomialSketch, over_norm, safe_norm
from steereval.models.methods.barrier_flow import (
    BarrierFlow,
    LogisticOptions,
    SolverOptions,
    above_zero,
)
from steereval.models.methods.method import BARRIER, FLOW, SiteMethod
from steereval.models.methods.options import parse_options
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class BarrierOptions(LogisticOptions):
    """How the barrier is made."""

    degree: int = 2
    """Degree of the polynomial kernel."""
    components: int = 8000
    """Length of the sketch."""
    gamma: float = 0.1
    """Weight of the inner product in the kernel."""
    coef0: float = 1.0
    """Constant of the kernel."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        super().__post_init__()
        above_zero(self, "degree", "components", "gamma")
        if self.coef0 < 0:
            raise ValueError(f"coef0 must not be below 0, not {self.coef0}")


@dataclass(frozen=True)
class FlowOptions(SolverOptions, BarrierOptions):
    """How the barrier is made and its flow integrated."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        BarrierOptions.__post_init__(self)
        SolverOptions.__post_init__(self)


@dataclass(frozen=True)
class PolynomialFlow(BarrierFlow):
    """The flow of a barrier on a polynomial sketch."""

    method: ClassVar[str] = "polynomial_flow"

    index_hash: Tensor
    """Hash functions [degree, d + 1]."""
    sign_hash: Tensor
    """Signs of the hash functions [degree, d + 1]."""
    coef: Tensor
    """Weights [D] of the logistic regression."""
    basis: Tensor
    """Q [d, d] of the quadratic form; empty unless the degree is 2."""
    eigenvalues: Tensor
    """Eigenvalues [d] of the quadratic form; empty unless the degree is 2."""
    linear: Tensor
    """Linear part [d] of the quadratic form; empty unless the degree is 2."""
    constant: float
    """Constant part of the quadratic form."""
    gamma: float
    """Weight of the inner product in the kernel."""
    coef0: float
    """Constant of the kernel."""

    @cached_property
    def sketch(self) -> PolynomialSketch:
        """The feature map."""
        components = len(self.coef)
        return PolynomialSketch(self.index_hash, self.sign_hash, components, self.gamma, self.coef0)

    @cached_property
    def quadratic(self) -> QuadraticForm | None:
        """The exact form for degree 2, else None."""
        if self.basis.numel() == 0:
            return None
        return QuadraticForm(self.basis, self.eigenvalues, self.linear, self.constant)

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x(T) from x(0) = x."""
        form = self.quadratic
        if form is None or not prefers_exact(x, self.steps, self.solver):
            return x + self.flow(self._sketch_field, x, strength)
        z = form.rotate(x)
        if self.solver in WALKS:
            moved = form.walk(z, strength, self.steps, self.solver)
        else:
            moved = self.flow(form.direction, z, strength)
        return x + form.rotate_back(moved)

    def field(self, x: Tensor) -> Tensor:
        """Unit vector field [..., d] at x [..., d]; zero where the gradient vanishes."""
        form = self.quadratic
        if form is None:
            return self._sketch_field(x)
        return form.rotate_back(form.direction(form.rotate(x)))

    def _sketch_field(self, x: Tensor) -> Tensor:
        gradient = self.sketch.tangent_gradient(x, self.coef)
        return gradient / safe_norm(gradient)

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the barrier: orthogonal to x, since the features see x/|x| alone."""
        form = self.quadratic
        if form is None:
            return over_norm(self.sketch.tangent_gradient(x, self.coef), x)
        return form.rotate_back(form.gradient(form.rotate(x)))

    def weighted(self, x: Tensor) -> Tensor:
        """w . phi(x)."""
        form = self.quadratic
        return self.sketch.dot(x, self.coef) if form is None else form.value(x)


def build_flow(
    sketch: PolynomialSketch,
    coef: Tensor,
    intercept: float,
    *,
    solver: str,
    steps: int,
    tolerance: float = SolverOptions.tolerance,
    log_class_ratio: float = 0.0,
    norm: float = 0.0,
) -> PolynomialFlow:
    """A flow from a feature map and the weights [D] of a logistic regression on it."""
    empty = torch.empty(0)
    form = QuadraticForm(empty, empty, empty, 0.0)
    if len(sketch.index_hash) == 2:
        form = QuadraticForm.of(sketch, coef)
    return PolynomialFlow(
        index_hash=sketch.index_hash,
        sign_hash=sketch.sign_hash,
        coef=coef.float(),
        basis=form.basis,
        eigenvalues=form.eigenvalues,
        linear=form.linear,
        constant=form.constant,
        intercept=intercept,
        log_class_ratio=log_class_ratio,
        gamma=sketch.gamma,
        coef0=sketch.coef0,
        solver=solver,
        steps=steps,
        tolerance=tolerance,
        dimension=sketch.index_hash.shape[1] - 1,
        median_norm=norm,
    )


def fit_flow(
    data: SiteData, options: BarrierOptions, seed: int, solver: SolverOptions
) -> PolynomialFlow:
    """Draw the hash functions from `seed`, fit the barrier, factorise it."""
    sketch = PolynomialSketch.draw(
        data.positive.shape[1], options.degree, options.components, options.gamma, options.coef0,
        seed,
    )  # fmt: skip
    coef, intercept = fit_barrier(
        sketch.features(data.positive.double()), sketch.features(data.negative.double()), options
    )
    return build_flow(
        sketch,
        coef,
        intercept,
        solver=solver.solver,
        steps=solver.steps,
        tolerance=solver.tolerance,
        log_class_ratio=log_class_ratio(data),
        norm=median_norm(data.positive, data.negative),
    )


def fit_barrier(
    positive: Tensor, negative: Tensor, options: LogisticOptions
) -> tuple[Tensor, float]:
    """Weights [f] and intercept on features [n, f] of the classes. Raises FitError if none."""
    coef, intercept = fit_logistic(positive, negative, options.C, options.max_iterations)
    if not bool(coef.abs().max() > 1e-9):
        raise FitError(
            "the two classes look the same from the origin, so their barrier has no gradient",
            "Check that the contrast's positive and negative texts differ.",
        )
    return coef, intercept


def log_class_ratio(data: SiteData) -> float:
    """log(n-/n+)."""
    return math.log(len(data.negative) / len(data.positive))


class OdeSteer(SiteMethod):
    """The multi-step flow."""

    name = "odesteer"
    summary = "ODESteer: integrate the normalised gradient of a polynomial log density ratio"
    seeded = True
    has = frozenset({BARRIER, FLOW})
    kinds = (PolynomialFlow,)
    Options = FlowOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Fit the barrier and keep the solver chosen."""
        return fit_flow(data, options, seed, options)


def odesteer_from_sketch(
    index_hash: Tensor,
    sign_hash: Tensor,
    coef: Tensor,
    intercept: float,
    degree: int = 2,
    gamma: float = 0.1,
    coef0: float = 1.0,
    solver: str = "euler",
    steps: int = 10,
) -> PolynomialFlow:
    """ODESteer with known hash functions [degree, d + 1] and weights [D] instead of a fit.

    Raises InputError when the shapes do not fit together, or for a value out of range.
    """
    options = {"degree": degree, "gamma": gamma, "coef0": coef0, "solver": solver, "steps": steps}
    parse_options("odesteer", FlowOptions, options)
    index, sign = torch.as_tensor(index_hash).long(), torch.as_tensor(sign_hash)
    weights = torch.as_tensor(coef).double().flatten()
    if index.ndim != 2 or index.shape != sign.shape or len(index) != degree or len(index[0]) < 2:
        raise InputError(
            f"index_hash {tuple(index.shape)} and sign_hash {tuple(sign.shape)} do not fit "
            f"degree {degree}",
            "Both must be [degree, dimension + 1].",
        )
    if int(index.min()) < 0 or int(index.max()) >= len(weights):
        raise InputError(
            f"index_hash reaches {int(index.max())}, but coef has {len(weights)} components",
            "Hashes must lie in [0, len(coef)).",
        )
    sketch = PolynomialSketch(index, sign, len(weights), gamma, coef0)
    return build_flow(sketch, weights, float(intercept), solver=solver, steps=steps)
