"""ODESteer: follow the gradient of a log density ratio as an ordinary differential equation.

Zhao et al., ICLR 2026 (arXiv 2602.17560). The barrier h is a logistic regression on polynomial
features of x/|x|; the flow is x' = grad h/|grad h| from time 0 to T. For degree 2 the exact
quadratic form is integrated (`flow.quadratic`), otherwise the sketch itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.errors import FitError, InputError
from steereval.models.flow.integrators import SOLVERS, displacement
from steereval.models.flow.logistic import fit_logistic
from steereval.models.flow.quadratic import QuadraticForm
from steereval.models.flow.sketch import PolynomialSketch, safe_norm
from steereval.models.methods.method import SiteMethod
from steereval.models.options import parse_options
from steereval.models.steerer import Steerer, typical_norm


@dataclass(frozen=True)
class BarrierOptions:
    """How the barrier is made."""

    degree: int = 2
    """Degree of the polynomial kernel."""
    components: int = 8000
    """Length of the sketch."""
    gamma: float = 0.1
    """Weight of the inner product in the kernel."""
    coef0: float = 1.0
    """Constant of the kernel."""
    C: float = 1.0
    """Inverse strength of the logistic regression's penalty."""
    max_iterations: int = 1000
    """Upper bound on the solver's iterations."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        for name in ("degree", "components", "gamma", "C", "max_iterations"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.coef0 < 0:
            raise ValueError(f"coef0 must not be below 0, not {self.coef0}")


@dataclass(frozen=True)
class FlowOptions(BarrierOptions):
    """How the barrier is made and its flow integrated."""

    solver: str = "euler"
    """euler, midpoint or rk4."""
    steps: int = 10
    """Equal steps from time 0 to T."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        super().__post_init__()
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, not {self.solver!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


@dataclass(frozen=True)
class BarrierFlow(Steerer):
    """Integrates the normalised gradient of the barrier; T is the arc length."""

    method: ClassVar[str] = "barrier_flow"

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
    intercept: float
    """Intercept of the logistic regression."""
    log_class_ratio: float
    """log(n-/n+): turns log-odds into a log density ratio."""
    gamma: float
    """Weight of the inner product in the kernel."""
    coef0: float
    """Constant of the kernel."""
    solver: str
    """Name of the integrator."""
    steps: int
    """Number of equal steps."""

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
        if form is None:
            return x + displacement(self.field, x, strength, self.steps, self.solver)
        start = form.rotate(x)
        moved = displacement(form.direction, start, strength, self.steps, self.solver)
        return x + form.rotate_back(moved)

    def field(self, x: Tensor) -> Tensor:
        """Unit vector field [..., d] at x [..., d]."""
        form = self.quadratic
        if form is not None:
            return form.rotate_back(form.direction(form.rotate(x)))
        gradient = self.sketch.tangent_gradient(x, self.coef)
        return gradient / safe_norm(gradient)

    def log_odds(self, x: Tensor) -> Tensor:
        """Log-odds [...] of "positive" at x [..., d]: w . phi(x) + b."""
        form = self.quadratic
        dot = self.sketch.dot(x, self.coef) if form is None else form.value(x)
        return dot + self.intercept

    def barrier(self, x: Tensor) -> Tensor:
        """h(x) [...]: the log density ratio of positive to negative activations."""
        return self.log_odds(x) + self.log_class_ratio

    def strength_of_one_norm(self) -> float:
        """The flow has unit speed, so its duration is its length."""
        return self.typical_norm


def build_flow(
    sketch: PolynomialSketch,
    coef: Tensor,
    intercept: float,
    *,
    solver: str,
    steps: int,
    log_class_ratio: float = 0.0,
    norm: float = 0.0,
) -> BarrierFlow:
    """A flow from a feature map and the weights [D] of a logistic regression on it."""
    empty = torch.empty(0)
    form = QuadraticForm(empty, empty, empty, 0.0)
    if len(sketch.index_hash) == 2:
        form = QuadraticForm.of(sketch, coef)
    return BarrierFlow(
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
        dimension=sketch.index_hash.shape[1] - 1,
        typical_norm=norm,
    )


def fit_flow(
    positive: Tensor, negative: Tensor, options: BarrierOptions, seed: int, solver: str, steps: int
) -> BarrierFlow:
    """Draw the hash functions from `seed`, fit the barrier, factorise it."""
    sketch = PolynomialSketch.draw(
        positive.shape[1], options.degree, options.components, options.gamma, options.coef0, seed
    )
    coef, intercept = fit_logistic(
        sketch.features(positive.double()),
        sketch.features(negative.double()),
        options.C,
        options.max_iterations,
    )
    if not bool(coef.any()):
        raise FitError(
            "the two classes look the same from the origin, so their barrier has no gradient",
            "Check that the contrast's positive and negative texts differ.",
        )
    return build_flow(
        sketch,
        coef,
        intercept,
        solver=solver,
        steps=steps,
        log_class_ratio=math.log(len(negative) / len(positive)),
        norm=typical_norm(positive, negative),
    )


class OdeSteer(SiteMethod):
    """The multi-step flow."""

    name = "odesteer"
    summary = "ODESteer: integrate the normalised gradient of a polynomial log density ratio"
    seeded = True
    Options = FlowOptions

    def fit_site(self, positive: Tensor, negative: Tensor, options: Any, seed: int) -> Steerer:
        """Fit the barrier and keep the solver chosen."""
        return fit_flow(positive, negative, options, seed, options.solver, options.steps)


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
) -> BarrierFlow:
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
