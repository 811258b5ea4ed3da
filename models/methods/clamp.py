"""A clamp: the component along a direction is set to a value, all else is kept.

After the action `clamp` of lm-eval's `steered` model, and the feature clamping of Templeton et al.
2024, "Scaling Monosemanticity".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from steereval.common.errors import InputError
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Clamp(Steerer):
    """x + T r (v - r . (x - b)): at T = 1 the component of x - b along r is v."""

    method: ClassVar[str] = "clamp"

    direction: Tensor
    """The unit direction r, [d]."""
    value: float
    """The value v that the component takes."""
    bias: Tensor
    """The point b from which it is measured, [d]; [0] for the origin."""

    @classmethod
    def along(
        cls, vector: Tensor, value: float, bias: Tensor | None = None, median_norm: float = 0.0
    ) -> Clamp:
        """A clamp along `vector` [d], of any length. Raises InputError if it is zero."""
        wide = vector.double()
        length = float(wide.norm())
        if length == 0:
            raise InputError(
                "a vector of zeros has no direction to clamp along",
                "Give a vector that is not zero, or leave that layer out.",
            )
        return cls(
            (wide / length).float(),
            value,
            torch.empty(0) if bias is None else bias.float(),
            dimension=len(vector),
            median_norm=median_norm,
        )

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Interpolates between x and the clamped x."""
        direction = self.direction.to(x.dtype)
        component = x @ direction
        if len(self.bias):
            component = component - self.bias.to(x.dtype) @ direction
        return x + (strength * (self.value - component))[..., None] * direction
