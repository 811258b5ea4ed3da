"""The protocol of steering: what a method is fitted to, and what a fitted steerer does.

A method is fitted once to `ContrastData` and yields one frozen `Steerer` for each site. Simple
steerers map activations to activations; those that decide per query first look at the state of
the prompt's last token (`begin`) and are handed what they decided with every later token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from steereval.errors import FitError, InputError
from steereval.models.sites import Site

UNITS = ("absolute", "relative")


@dataclass(frozen=True)
class ContrastData:
    """Activations that a method is fitted to; every tensor is float and on the CPU."""

    positive: Mapping[Site, Tensor]
    """Wanted behaviour, [n+, d] for each site."""
    negative: Mapping[Site, Tensor]
    """Unwanted behaviour, [n-, d] for each site."""
    pairs: Tensor | None = None
    """Row indices [m, 2] of positive and negative rows that answer one another."""
    queries: Mapping[Site, Tensor] | None = None
    """State of the last token of each query, [q, d] for each site."""
    positive_query: Tensor | None = None
    """Row [n+] of `queries` to which each positive row is an answer."""
    negative_query: Tensor | None = None
    """Row [n-] of `queries` to which each negative row is an answer."""
    trajectories: Mapping[Site, Sequence[Tensor]] | None = None
    """States of the tokens of each answer, one [t, d] an answer, for each site."""
    rewards: Tensor | None = None
    """Reward of each answer in `trajectories`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted, with a FitError that names it."""
        if not self.positive:
            raise FitError("the contrast data has no site", "Name at least one layer.")
        for site in self.positive:
            _check_class("positive", site, self.positive[site])
            _check_class("negative", site, self.negative[site])
            _check_pair(site, self.positive[site], self.negative[site])

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, lowest first."""
        return tuple(sorted(self.positive))


def _check_class(kind: str, site: Site, states: Tensor) -> None:
    if states.ndim != 2 or states.shape[0] == 0 or states.shape[1] == 0:
        raise FitError(
            f"the {kind} activations at layer {site} have shape {tuple(states.shape)}",
            "A fit needs a matrix [samples, dimension] with at least one sample of each class.",
        )
    if not states.is_floating_point():
        raise FitError(f"the {kind} activations at layer {site} are {states.dtype}", "Give floats.")
    bad = int((~torch.isfinite(states)).any(dim=1).sum())
    if bad:
        raise FitError(
            f"{bad} of {len(states)} {kind} activations at layer {site} are not finite",
            "The model overflowed there: use float32 or bfloat16, or another layer.",
        )


def _check_pair(site: Site, positive: Tensor, negative: Tensor) -> None:
    if positive.shape[1] != negative.shape[1]:
        raise FitError(
            f"positive activations at layer {site} have dimension {positive.shape[1]}, "
            f"negative ones {negative.shape[1]}",
            "Both classes must come from the same site of the same model.",
        )
    both = torch.cat([positive, negative])
    if bool((both == both[0]).all()):
        raise FitError(
            f"all activations at layer {site} are the same",
            "A fit needs texts that differ, read after the model has seen them.",
        )


@dataclass(frozen=True)
class Steerer(ABC):
    """A fitted steerer for one site: frozen, its tensors and settings being its fields."""

    method: ClassVar[str]
    """Name of the class in artefacts."""
    per_query: ClassVar[bool] = False
    """Whether `apply` needs the state that `begin` returns."""

    dimension: int = field(kw_only=True)
    """Width of the activations."""
    typical_norm: float = field(kw_only=True, default=0.0)
    """Median norm of the activations that it was fitted to; 0 where unknown."""

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """Steer activations x [..., d] of any one query; shape, dtype and device are kept."""
        if self.per_query:
            raise InputError(
                f"{self.method} decides per query, so it cannot be called on activations alone",
                "Call begin(prompt_states, row_keys), then apply(x, strength, state).",
            )
        return self.apply(x, strength)

    def begin(self, prompt_states: Tensor, row_keys: Sequence[str]) -> Tensor | None:
        """Decide on queries by the state of their last prompt token.

        `prompt_states` [q, d]; `row_keys` names each query, for draws that must not depend on
        the batch. Returns a tensor whose first dimension is the query, or None.
        """
        return None

    def apply(self, x: Tensor, strength: float, state: Tensor | None = None) -> Tensor:
        """Steer activations x [..., d]; `state` holds the state of each token's query [..., k].

        Strength 0 is the identity, exactly. The arithmetic is in float32 at least.
        """
        if x.shape[-1] != self.dimension:
            raise InputError(
                f"activations of dimension {x.shape[-1]} were given to a {self.method} steerer "
                f"of dimension {self.dimension}",
                "Use the steerer with the model and site that it was fitted to.",
            )
        if strength == 0:
            return x
        wide = x if x.dtype == torch.float64 else x.float()
        return self.move(wide, strength, state).to(x.dtype)

    @abstractmethod
    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """The steered activations, in the dtype of x (float32 or float64); strength is not 0."""

    def strength_of_one_norm(self) -> float | None:
        """The absolute strength that displaces by the typical norm; None if there is none."""
        return None

    def absolute_strength(self, strength: float, unit: str) -> float:
        """`strength` given in `unit`, in the method's own unit.

        A relative strength of 1 displaces by the median norm of the fitted activations. Raises
        InputError for methods whose displacement is not proportional to the strength.
        """
        if unit == "absolute" or strength == 0:
            return strength
        scale = self.strength_of_one_norm()
        if scale is None:
            raise InputError(
                f"{self.method} has no relative strengths",
                "They exist for methods that displace along a direction or a flow; use absolute.",
            )
        if self.typical_norm <= 0:
            raise InputError(
                f"this {self.method} steerer does not know the norm of its activations",
                "Only a fitted steerer has relative strengths; use absolute.",
            )
        return strength * scale

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are tensors, by name."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def settings(self) -> dict[str, Any]:
        """The fields that are not tensors, by name, fit for JSON."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, Tensor)}

    def to(self, device: torch.device) -> Self:
        """The same steerer with its tensors on `device`."""
        if all(tensor.device == device for tensor in self._tensors_once.values()):
            return self
        moved: dict[str, Any] = {k: v.to(device) for k, v in self._tensors_once.items()}
        return replace(self, **moved)

    @cached_property
    def _tensors_once(self) -> dict[str, Tensor]:
        return self.tensors()


def typical_norm(positive: Tensor, negative: Tensor) -> float:
    """Median norm of the rows of both classes."""
    return float(torch.cat([positive, negative]).double().norm(dim=1).median())
