"""A vector that is added whatever the activation: what many methods fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class ConstantShift(Steerer):
    """x + T v."""

    method: ClassVar[str] = "constant_shift"

    vector: Tensor
    """The shift v of strength 1, [d]."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """x + T v."""
        return x + strength * self.vector.to(x.dtype)

    def shift(self, strength: float) -> Tensor:
        """T v."""
        return strength * self.vector

    def strength_of_one_norm(self) -> float:
        """The median norm over the length of v."""
        return self.median_norm / float(self.vector.double().norm())
