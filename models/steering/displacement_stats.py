"""How far an intervention moves tokens, counted while a model runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DisplacementStats:
    """How far an intervention has moved the tokens at one site, summed without waiting for it."""

    tokens: int = 0
    """Tokens steered."""
    distance: Tensor | float = 0.0
    """Sum of |y - x|; not finite if any steered activation was not."""

    def add(self, tokens: int, distance: Tensor | float) -> None:
        """Count `tokens` that were moved by `distance` in all."""
        self.tokens += tokens
        self.distance = self.distance + distance


def distance(before: Tensor, after: Tensor) -> Tensor:
    """Sum of |after - before| over all tokens."""
    wide = torch.promote_types(after.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(after - before, dim=-1, dtype=wide)
    return lengths.sum()
