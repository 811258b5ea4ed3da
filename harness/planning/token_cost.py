"""Tokens and operations of a group of cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Tokens that cells feed their model, without fits and the perplexity of generated texts."""

    tokens_unshared: int = 0
    """Tokens when `lm_eval --model hf` answers for one cell after the other."""
    below: int = 0
    """Tokens through the blocks below the steering when the cells are answered together."""
    above: int = 0
    """Tokens through the blocks above it then."""
    flops_alone: float = 0.0
    """Operations of the products with weights, without attention scores; two a weight and token."""
    flops: float = 0.0
    """The same when the cells are answered together."""
    generated: int = 0
    """Tokens that are generated at most; part of all the others."""

    def __add__(self, other: Cost) -> Cost:
        """The sum of both."""
        return Cost(
            self.tokens_unshared + other.tokens_unshared,
            self.below + other.below,
            self.above + other.above,
            self.flops_alone + other.flops_alone,
            self.flops + other.flops,
            self.generated + other.generated,
        )
