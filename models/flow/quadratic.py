"""The degree-2 barrier as a quadratic form, in coordinates where its gradient costs O(d).

With w . phi(x) = e^T M e and S = M + M^T, let gamma S_xx = Q diag(lambda) Q^T. Rotations change
neither norms nor inner products, so the flow can run on z = Q^T x, where
    u = lambda * z/|z| + beta,   beta = sqrt(gamma coef0) Q^T S_xc,
is |x| times the gradient before its part along z is taken off. Two matrix products a token,
whatever the number of steps; no approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from steereval.models.flow.sketch import PolynomialSketch, over_norm, safe_norm


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
        unit = _unit(z)
        pull = torch.addcmul(self.linear.to(z.dtype), self.eigenvalues.to(z.dtype), unit)
        along = (unit * pull).sum(dim=-1, keepdim=True)
        return _unit(torch.addcmul(pull, unit, along, value=-1))

    def gradient(self, z: Tensor) -> Tensor:
        """Gradient [..., d] of w . phi in eigen-coordinates."""
        unit = z / safe_norm(z)
        pull = torch.addcmul(self.linear.to(z.dtype), self.eigenvalues.to(z.dtype), unit)
        return over_norm(pull - (unit * pull).sum(dim=-1, keepdim=True) * unit, z)


def _unit(z: Tensor) -> Tensor:
    """z/|z|, 0 for 0: `normalize` and `safe_norm` take more steps, which a short flow feels."""
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    return z / norm.clamp_min(torch.finfo(z.dtype).tiny)
