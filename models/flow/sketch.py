"""Polynomial count sketch of a unit vector, and the gradient of a linear function of it.

Pham and Pagh 2013 (tensor sketch), as ODESteer uses it (Zhao et al. 2026, arXiv 2602.17560):
e = [sqrt(gamma) x/|x|, sqrt(coef0)], phi(x) = irfft(prod_k rfft(sketch_k(e))).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolynomialSketch:
    """Hash functions and kernel of the feature map phi: R^d -> R^D."""

    index_hash: Tensor
    """Component of each entry of e, int64 [degree, d + 1] in [0, D)."""
    sign_hash: Tensor
    """Sign of each entry of e, +1 or -1, [degree, d + 1]."""
    components: int
    """D, the length of phi(x)."""
    gamma: float
    """Weight of the inner product in the kernel (gamma x.y + coef0)^degree."""
    coef0: float
    """Constant of the kernel."""

    @classmethod
    def draw(
        cls, dimension: int, degree: int, components: int, gamma: float, coef0: float, seed: int
    ) -> PolynomialSketch:
        """Hash functions drawn from a generator of their own, seeded with `seed`."""
        generator = torch.Generator().manual_seed(seed)
        shape = (degree, dimension + 1)
        index = torch.randint(components, shape, generator=generator)
        sign = torch.randint(2, shape, generator=generator) * 2 - 1
        return cls(index, sign, components, gamma, coef0)

    def features(self, x: Tensor) -> Tensor:
        """phi(x) [..., D] for x [..., d], in the dtype of x."""
        spectra = self._spectra(self._entries(x))
        features: Tensor = torch.fft.irfft(_product(spectra), n=self.components)
        return features

    def dot(self, x: Tensor, weights: Tensor) -> Tensor:
        """weights . phi(x) [...] for weights [D]."""
        return self.features(x) @ weights.to(x.dtype)

    def tangent_gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Gradient of weights . phi at x [..., d], times |x|: orthogonal to x.

        phi sees x/|x| alone, so the gradient has no part along x. It takes 2 degree + 1 FFTs.
        """
        unit = x / safe_norm(x)
        spectra = self._spectra(self._entries(x))
        target = torch.fft.rfft(weights.to(x.dtype))
        gradient = torch.zeros_like(x)
        width = x.shape[-1]
        for k in range(len(spectra)):
            others = [spectrum for j, spectrum in enumerate(spectra) if j != k]
            back = target * _product(others).conj() if others else target.expand_as(spectra[k])
            correlation = torch.fft.irfft(back, n=self.components)
            gathered = correlation[..., self.index_hash[k, :width]]
            gradient = gradient + gathered * self.sign_hash[k, :width].to(x.dtype)
        gradient = self.gamma**0.5 * gradient
        tangent: Tensor = gradient - unit * (unit * gradient).sum(dim=-1, keepdim=True)
        return tangent

    def quadratic_form(self, weights: Tensor) -> Tensor:
        """M [d + 1, d + 1], float64, with weights . phi(x) = e^T M e. Only for degree 2."""
        first, second = self.index_hash
        index = (first[:, None] + second[None, :]) % self.components
        sign = self.sign_hash[0][:, None] * self.sign_hash[1][None, :]
        return sign.double() * weights.double()[index]

    def _entries(self, x: Tensor) -> Tensor:
        unit = x / safe_norm(x)
        constant = torch.full_like(x[..., :1], self.coef0**0.5)
        return torch.cat([self.gamma**0.5 * unit, constant], dim=-1)

    def _spectra(self, entries: Tensor) -> list[Tensor]:
        """Fourier transform of each count sketch of the entries [..., d + 1]."""
        shape = (*entries.shape[:-1], self.components)
        spectra = []
        for index, sign in zip(self.index_hash, self.sign_hash, strict=True):
            sketch = entries.new_zeros(shape)
            sketch.index_add_(-1, index, entries * sign.to(entries.dtype))
            spectra.append(torch.fft.rfft(sketch))
        return spectra


def _product(spectra: list[Tensor]) -> Tensor:
    result = spectra[0]
    for spectrum in spectra[1:]:
        result = result * spectrum
    return result


def over_norm(values: Tensor, x: Tensor) -> Tensor:
    """values [..., d] over |x|; zero where x is zero, which has no direction to be turned."""
    norms = safe_norm(x)
    return torch.where(norms > torch.finfo(x.dtype).tiny, values / norms, 0.0)


def safe_norm(x: Tensor) -> Tensor:
    """Norms [..., 1], never zero, so that a zero vector has a zero direction and no NaN."""
    norms: Tensor = x.norm(dim=-1, keepdim=True)
    return norms.clamp_min(torch.finfo(x.dtype).tiny)
