"""Conditional steering: any method behind a gate that is decided on the prompt.

After Lee et al. 2025, "Programming Refusal with Conditional Activation Steering"
(arXiv 2409.05907). The gate looks at the state of the prompt's last token and opens for the whole
query where that state looks negative: to a logistic probe, or by its cosine with the difference of
the class means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from steereval.common.errors import InputError
from steereval.models.fitting.contrast_data import ContrastData, SiteData
from steereval.models.methods.barrier_flow import LogisticOptions
from steereval.models.methods.caa import mean_difference
from steereval.models.methods.iti import probe
from steereval.models.methods.method import CONSTANT, Method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class ConditionalOptions(LogisticOptions):
    """Options of the inner method and of the gate."""

    method: str = "caa"
    """The method behind the gate."""
    method_options: dict[str, Any] = field(default_factory=dict)
    """Its options."""
    gate: Literal["probe", "cosine"] = "probe"
    """How the gate judges the prompt's last state."""
    threshold: float | None = None
    """probe: least probability of "negative" that opens (0.5). cosine: greatest cosine with the
    difference of means that opens (halfway between the classes)."""


@dataclass(frozen=True)
class GatedSteerer(Steerer):
    """The inner steerer where the gate opens; x elsewhere."""

    method: ClassVar[str] = "gated"
    per_query: ClassVar[bool] = True

    inner: Steerer
    """Steerer of the tokens of a query whose gate opens."""
    direction: Tensor
    """Weights of the probe, or the difference of means, [d]."""
    cosine: bool
    """Whether the direction's cosine with the state is taken, not the product."""
    threshold: float
    """The gate opens below this."""

    def begin(self, prompt_states: Tensor, row_keys: Sequence[str]) -> Tensor:
        """The gate [q, 1], 1 or 0, with the inner steerer's state next to it."""
        gate = self.opens(prompt_states.float())[:, None].float()
        if not self.inner.per_query:
            return gate
        decided = self.inner.begin(prompt_states, row_keys)
        assert decided is not None
        return torch.cat([gate, decided.float()], dim=-1)

    def opens(self, prompt_states: Tensor) -> Tensor:
        """Whether the gate opens [q] for prompt states [q, d]."""
        direction = self.direction.to(prompt_states.dtype)
        if self.cosine:
            return F.cosine_similarity(prompt_states, direction[None], dim=-1) < self.threshold
        return prompt_states @ direction < self.threshold

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Steered where the gate of the token's query is open."""
        assert state is not None
        moved = self.inner.move(x, strength, state[..., 1:])
        return torch.where(state[..., :1] > 0, moved, x)

    def strength_of_one_norm(self) -> float | None:
        """That of the inner steerer."""
        return self.inner.strength_of_one_norm()


class Conditional(Method):
    """Wraps another method, named by an option."""

    name = "conditional"
    summary = "any method behind a gate that opens where the prompt looks negative"
    kinds = (GatedSteerer,)
    Options = ConditionalOptions

    def traits(self, options: Any) -> frozenset[str]:
        """Those of the inner method; behind a gate no vector is the same for all."""
        inner = self._inner(options)
        return inner.traits(inner.options(options.method_options)) - {CONSTANT}

    def draws(self, options: Any) -> bool:
        """Whether the inner method draws at random."""
        inner = self._inner(options)
        return inner.draws(inner.options(options.method_options))

    def has_relative_strengths(self, options: Any) -> bool:
        """Whether the inner method has them."""
        inner = self._inner(options)
        return inner.has_relative_strengths(inner.options(options.method_options))

    def needs(self, options: Any) -> frozenset[str]:
        """Parts of the data that the inner method needs."""
        inner = self._inner(options)
        return inner.needs(inner.options(options.method_options))

    def reward(self, options: Any) -> str:
        """The inner method's reward."""
        inner = self._inner(options)
        return inner.reward(inner.options(options.method_options))

    def files(self, options: Any) -> tuple[Path, ...]:
        """Those of the inner method."""
        inner = self._inner(options)
        return inner.files(inner.options(options.method_options))

    def options(self, given: Any) -> Any:
        """The typed options; those of the inner method are checked as well."""
        options = super().options(given)
        self._inner(options).options(options.method_options)
        return options

    def reduced(self, given: Any) -> dict[str, tuple[Any, Any]]:
        """Reduced settings of the inner method's training."""
        options = self.options(given)
        return self._inner(options).reduced(options.method_options)

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Fit the inner method, and a gate at each of its sites."""
        inner = self._inner(options)
        steerers = inner.fit(data, inner.options(options.method_options), seed)
        return {site: _gated(s, data.at(site), options) for site, s in steerers.items()}

    def _inner(self, options: Any) -> Method:
        # Imported here: the registry imports this module.
        from steereval.models.methods.registry import get_method

        inner = get_method(options.method)
        if inner.name in (self.name, "none") or inner.reads != "block":
            raise InputError(
                f"method {inner.name} cannot stand behind a gate",
                "Choose one that acts on the outputs of blocks.",
            )
        return inner


def _gated(inner: Steerer, data: SiteData, options: ConditionalOptions) -> GatedSteerer:
    cosine = options.gate == "cosine"
    if cosine:
        direction = mean_difference(data, "conditional")
        means = [
            F.cosine_similarity(part.double(), direction[None], dim=-1).mean()
            for part in (data.positive, data.negative)
        ]
        threshold = float(sum(means)) / 2 if options.threshold is None else options.threshold
    else:
        direction, intercept = probe(data, options, "conditional")
        chance = 0.5 if options.threshold is None else options.threshold
        # P(negative) > chance where w.x + b < log((1 - chance)/chance).
        threshold = float(torch.logit(torch.tensor(1 - chance, dtype=torch.float64))) - intercept
    return GatedSteerer(
        inner,
        direction.float(),
        cosine,
        threshold,
        dimension=len(direction),
        median_norm=median_norm(data.positive, data.negative),
    )
