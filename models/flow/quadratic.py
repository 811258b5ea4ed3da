"""The degree-2 barrier as a quadratic form, in coordinates where its gradient costs O(d).

With w . phi(x) = e^T M e and S = M + M^T, let gamma S_xx = Q diag(lambda) Q^T. Rotations change
neither norms nor inner products, so the flow can run on z = Q^T x, where
    u = lambda * z/|z| + beta,   beta = sqrt(gamma coef0) Q^T S_xc,
is |x| times the gradient before its part along z is taken off. Two matrix products a token,
for any number of steps; no approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from steereval.models.flow.sketch import PolynomialSketch, over_norm, safe_norm

_TINY = torch.finfo(torch.float32).tiny

WALKS = ("euler", "exponential")
"""Solvers of `QuadraticForm.walk`."""


@dataclass(frozen=True)
class QuadraticForm:
    """w . phi(x) in eigen-coordinates."""

    basis: Tensor
    """Q [d, d]: eigenvectors in columns."""
    eigenvalues: Tensor
    """lambda [d]."""
    linear: Tensor
    """beta [d]."""
    constant: float
    """The part that does not depend on x."""

    @classmethod
    def of(cls, sketch: PolynomialSketch, weights: Tensor) -> QuadraticForm:
        """Factorise once, in float64: O(d^3)."""
        form = sketch.quadratic_form(weights)
        symmetric = form + form.T
        eigenvalues, basis = torch.linalg.eigh(sketch.gamma * symmetric[:-1, :-1])
        linear = (sketch.gamma * sketch.coef0) ** 0.5 * (basis.T @ symmetric[:-1, -1])
        constant = sketch.coef0 * float(form[-1, -1])
        return cls(basis.float().contiguous(), eigenvalues.float(), linear.float(), constant)

    def value(self, x: Tensor) -> Tensor:
        """w . phi(x) [...] for x [..., d]."""
        z = self.rotate(x)
        unit = z / safe_norm(z)
        quadratic = 0.5 * (self.eigenvalues.to(x.dtype) * unit * unit).sum(dim=-1)
        return quadratic + unit @ self.linear.to(x.dtype) + self.constant

    def rotate(self, x: Tensor) -> Tensor:
        """Q^T x for x [..., d]."""
        return x @ self.basis.to(x.dtype)

    def rotate_back(self, z: Tensor) -> Tensor:
        """Q z for z [..., d]."""
        return z @ self.basis.to(z.dtype).T

    def direction(self, z: Tensor) -> Tensor:
        """Unit field [..., d] in eigen-coordinates; zero where the gradient vanishes."""
        return _unit(self._tangent(_unit(z)))

    def gradient(self, z: Tensor) -> Tensor:
        """Gradient [..., d] of w . phi in eigen-coordinates."""
        return over_norm(self._tangent(_unit(z)), z)

    def walk(self, z: Tensor, duration: float, steps: int, solver: str) -> Tensor:
        """Displacement [..., d] over `steps` steps along `direction` from z [..., d].

        What `displacement` does with the field and one of the solvers `WALKS`, but as the speed
        is 1 and orthogonal to z, the norms on the way are known before the first step, which
        saves half of the operations. Where the field vanishes nothing moves.
        """
        if solver == "exponential":
            return self._walk_on_sphere(z, duration / steps, steps)
        end, lengths = z, []
        for norm in _norms(_length(z), duration / steps, steps):
            tangent = self._tangent(end / norm)
            lengths.append(_length(tangent))
            end = torch.addcdiv(end, tangent, lengths[-1], value=duration / steps)
        return torch.where(lengths[0] > _TINY, end - z, 0.0)

    def _walk_on_sphere(self, z: Tensor, step: float, steps: int) -> Tensor:
        # On a sphere of radius 0 there is nowhere to go, at a finite angle.
        radius = _length(z, 1e-30)
        angle = step / radius
        rescale, per_sine = torch.cos(angle), 1 / torch.sin(angle)
        unit, lengths = z / radius, []
        for _ in range(steps):
            tangent = self._tangent(unit)
            lengths.append(_length(tangent))
            unit = torch.addcdiv(unit * rescale, tangent, lengths[-1] * per_sine)
        return torch.where(lengths[0] > _TINY, radius * unit - z, 0.0)

    def ascend(self, z: Tensor, rate: float, steps: int) -> Tensor:
        """Displacement [..., d] over `steps` steps of `rate` times the gradient."""
        end = z
        for _ in range(steps):
            norm = _length(end)
            end = torch.addcdiv(end, self._tangent(end / norm), norm, value=rate)
        # The origin has no direction to be turned.
        return torch.where((z == 0).all(dim=-1, keepdim=True), 0.0, end - z)

    def _tangent(self, unit: Tensor) -> Tensor:
        """|z| times the gradient [..., d] where z/|z| is `unit`."""
        pull = torch.addcmul(self.linear.to(unit.dtype), self.eigenvalues.to(unit.dtype), unit)
        along = torch.linalg.vecdot(unit, pull).unsqueeze(-1)
        return torch.addcmul(pull, unit, along, value=-1)


def _norms(radius: Tensor, step: float, steps: int) -> tuple[Tensor, ...]:
    """Norms [..., 1] before each of Euler's steps of unit speed from states of norm `radius`."""
    passed = _passed(step, steps, radius.dtype, radius.device)
    return torch.hypot(radius, passed).unsqueeze(-1).unbind(dim=-2)


@lru_cache(maxsize=64)
def _passed(step: float, steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The norm gained in the steps before each step [steps]: |step| times the root of its index."""
    with torch.inference_mode(False):
        counts = torch.arange(steps, dtype=torch.float64)
        return (abs(step) * counts.sqrt()).to(device, dtype)


def _length(x: Tensor, least: float = _TINY) -> Tensor:
    """|x| [..., 1], never zero: like `safe_norm` in fewer steps, which a short flow feels."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.clamp_min(least)


def _unit(x: Tensor) -> Tensor:
    """x/|x|, 0 for 0."""
    return x / _length(x)
