"""Constant shifts of several interventions, joined into one addition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steereval.models.steering.displacement_stats import DisplacementStats, distance
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hook_targets import HookTarget
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Bias:
    """An intervention's constant shifts at a target as one vector, which costs one addition."""

    vector: Tensor
    """The vector added to every token [d]."""
    lengths: Mapping[Site, float]
    """How far it moves a token at each site."""

    @classmethod
    def joining(
        cls,
        steerers: Mapping[Site, Steerer],
        strengths: Mapping[Site, float],
        target: HookTarget,
        d: int,
    ) -> Bias | None:
        """The shift of a block, or those of heads side by side; None if one is not constant."""
        vector, lengths = torch.zeros(d), {}
        for site, steerer in steerers.items():
            shift = steerer.shift(strengths[site])
            if shift is None:
                return None
            steerer.check_width(target.width or d)
            start = target.start(site)
            vector[start : start + len(shift)] = shift
            lengths[site] = float(shift.norm())
        return cls(vector, lengths)


@dataclass
class Addition:
    """Sum of the constant shifts of all interventions at a target, in each pass of a context."""

    vectors: Tensor
    """[d], [rows, 1, d], or [interventions + 1, d] if `chosen` is given."""
    chosen: Tensor | None
    """Which of the vectors each token [rows, length] gets."""
    moved: Sequence[tuple[DisplacementStats, int, float]]
    """Tokens moved in a pass, and how far in all, for the displacement at each site."""
    passes: int = 0
    """Passes that `moved` does not hold yet: decoding does not wait for its bookkeeping."""
    check: Tensor | float = 0.0
    """0, or not finite if a sum was not."""

    def __call__(self, hidden: Tensor) -> Tensor:
        """The states [rows, length, d], shifted."""
        moved = hidden + (self.vectors if self.chosen is None else self.vectors[self.chosen])
        self.passes += 1
        # Of all dtypes float16 alone overflows on the way.
        if hidden.dtype == torch.float16:
            self.check = self.check + 0 * distance(hidden, moved)
        return moved

    def settle(self) -> None:
        """Add the passes so far to the statistics."""
        for stats, tokens, length in self.moved:
            stats.add(self.passes * tokens, self.passes * length + self.check)
        self.passes, self.check = 0, 0.0
