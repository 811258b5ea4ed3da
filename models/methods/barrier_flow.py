"""Flows along the normalised gradient of a barrier, shared by the methods around ODESteer.

Zhao et al., ICLR 2026 (arXiv 2602.17560): the barrier h is the log density ratio of positive to
negative activations, from a logistic regression on features of x; the flow is
x' = grad h/|grad h| from time 0 to T. Methods differ in the features.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from steereval.common.limits import Positive
from steereval.models.flow.integrators import Solver, displacement
from steereval.models.flow.sketch import safe_norm
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class LogisticOptions:
    """How the barrier's weights are found."""

    C: Positive[float] = 1.0
    """Inverse strength of the logistic regression's penalty."""
    max_iterations: Positive[int] = 1000
    """Upper bound on the solver's iterations."""


@dataclass(frozen=True)
class SolverOptions:
    """How a flow is integrated."""

    solver: Solver = "euler"
    """euler, midpoint, rk4, exponential (keeps the norm) or adaptive."""
    steps: Positive[int] = 10
    """Equal steps from time 0 to T; for adaptive, of which the first is one."""
    tolerance: Positive[float] = 1e-4
    """Error allowed in each step of the adaptive solver, in units of x."""


@dataclass(frozen=True)
class BarrierFlow(Steerer):
    """Integrates the normalised gradient of a barrier; T is the arc length."""

    intercept: float
    """Intercept of the logistic regression."""
    log_class_ratio: float
    """log(n-/n+): turns log-odds into a log density ratio."""
    solver: str
    """Name of the integrator."""
    steps: int
    """Number of equal steps."""
    tolerance: float
    """Error allowed in a step of the adaptive solver."""

    @abstractmethod
    def weighted(self, x: Tensor) -> Tensor:
        """w . phi(x) [...] at x [..., d]."""

    @abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of the barrier [..., d] at x [..., d]."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x(T) from x(0) = x."""
        return x + self.flow(self.field, x, strength)

    def flow(self, field: object, x: Tensor, duration: float) -> Tensor:
        """The displacement along `field` with the solver chosen."""
        return displacement(
            field, x, duration, self.steps, self.solver, self.tolerance  # type: ignore[arg-type]
        )  # fmt: skip

    def field(self, x: Tensor) -> Tensor:
        """Unit vector field [..., d] at x [..., d]; zero where the gradient vanishes."""
        gradient = self.gradient(x)
        return gradient / safe_norm(gradient)

    def log_odds(self, x: Tensor) -> Tensor:
        """Log-odds [...] of "positive" at x [..., d]: w . phi(x) + b."""
        return self.weighted(x) + self.intercept

    def barrier(self, x: Tensor) -> Tensor:
        """h(x) [...]: the log density ratio of positive to negative activations."""
        return self.log_odds(x) + self.log_class_ratio

    @property
    def keeps_norm(self) -> bool:
        """The exponential map does; other solvers inflate the norm a little."""
        return self.solver == "exponential"

    def strength_of_one_norm(self) -> float:
        """The flow has unit speed, so its duration is its length."""
        return self.median_norm
