"""How long a cost takes on a GPU, from two published figures.

    reading prompts     the operations, at UTILISATION of what an A100 does in bfloat16
    generating          a step of a batch reads all weights once, at the speed at which the paper's
                        unsteered model does: 115 tokens a second of one text, 8.03 billion weights
                        of two bytes each

Loading models and training networks do not count. The larger of reading and computing counts
for a step. It is an estimate to plan by, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

from steereval.harness.planning.token_cost import Cost

A100_FLOPS = 312e12
"""Operations a second, dense, bfloat16 (NVIDIA's data sheet)."""
UTILISATION = 0.4
"""Share of them that reading prompts reaches."""
RATE = A100_FLOPS * UTILISATION
"""Operations a second when prompts are read."""
BANDWIDTH = 115 * 2 * 8.03e9
"""Bytes a second when weights are read: 115 steps a second of Llama-3.1-8B in bfloat16."""
LEAST_FLOPS = 2e9
"""Operations of a token below which a model is so small that other things take the time."""


@dataclass(frozen=True)
class Seconds:
    """Seconds of a GPU."""

    alone: float = 0.0
    """One cell after the other."""
    together: float = 0.0
    """Cells of a group answered together."""
    generating: float = 0.0
    """Of either: writing answers."""

    def __add__(self, other: Seconds) -> Seconds:
        """The sum of both."""
        return Seconds(
            self.alone + other.alone,
            self.together + other.together,
            self.generating + other.generating,
        )


def seconds_of(cost: Cost, batch_size: int) -> Seconds | None:
    """Seconds of `cost` with batches of `batch_size` texts; None for a small model."""
    whole = cost.flops_alone / cost.tokens_unshared if cost.tokens_unshared else 0.0
    if whole < LEAST_FLOPS:
        return None
    written = cost.generated * whole
    # Two operations a weight and token: in bfloat16 as many bytes as operations of one token.
    step = max(whole / BANDWIDTH, batch_size * whole / RATE)
    generating = cost.generated / batch_size * step
    return Seconds(
        (cost.flops_alone - written) / RATE + generating,
        (cost.flops - written) / RATE + generating,
        generating,
    )
