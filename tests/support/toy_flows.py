"""A barrier whose flow can be followed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from steereval.models.methods.barrier_flow import BarrierFlow


@dataclass(frozen=True)
class Valley(BarrierFlow):
    """h(x) = b - (sum_i c_i x_i^2)/2: a hill that is steep across and gentle along."""

    method: ClassVar[str] = "toy_valley"

    curvature: Tensor
    """c [d]."""

    def weighted(self, x: Tensor) -> Tensor:
        return -0.5 * (self.curvature.to(x.dtype) * x * x).sum(dim=-1)

    def gradient(self, x: Tensor) -> Tensor:
        return -self.curvature.to(x.dtype) * x


def valley(curvature: Tensor, steps: int, height: float = 0.0, solver: str = "euler") -> Valley:
    """A valley whose barrier is `height` at the origin."""
    return Valley(
        intercept=height, log_class_ratio=0.0, solver=solver, steps=steps, tolerance=1e-6,
        curvature=curvature, dimension=len(curvature),
    )  # fmt: skip
