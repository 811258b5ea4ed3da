"""A steerer on given activations, with its decision for the query of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.conditional import GatedSteerer
from steereval.models.methods.gradient_ascent import GradientAscentSteerer
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Acting:
    """A steerer and the decisions that belong to the activations it is given."""

    steerer: Steerer
    """The steerer."""
    state: Tensor | None = None
    """Its decision for the query of each activation [n, k]; None if it decides nothing."""

    @classmethod
    def on(cls, steerer: Steerer, queries: Tensor, keys: Sequence[str]) -> Acting:
        """`steerer` on activations whose queries end in the states `queries` [n, d]; `keys` name
        them."""
        return cls(steerer, steerer.begin(queries, keys) if steerer.per_query else None)

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """The steered activations [n, d], in the dtype of x."""
        return self.steerer.apply(x, strength, self.state)


def own_barrier(steerer: Steerer) -> BarrierFlow | None:
    """The barrier that a steerer climbs, if it has one."""
    if isinstance(steerer, BarrierFlow):
        return steerer
    if isinstance(steerer, GradientAscentSteerer):
        return steerer.flow
    return own_barrier(steerer.inner) if isinstance(steerer, GatedSteerer) else None
