"""Data of a fit: activations of texts that show the wanted behaviour or its opposite.

`ContrastData` holds all sites of a fit, `SiteData` one of them. Some methods need parts
in addition to the two classes: pairs, the states of queries, whole answers and their rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.steering.hook_points import Site

T = TypeVar("T")


@dataclass(frozen=True)
class SiteData:
    """Activations of one site; tensors are float and on the CPU. Raises FitError if unusable."""

    positive: Tensor
    """Wanted behaviour, [n+, d]."""
    negative: Tensor
    """Unwanted behaviour, [n-, d]."""
    pairs: Tensor | None = None
    """Row indices [m, 2] of positive and negative rows that answer one another."""
    queries: Tensor | None = None
    """State of the last token of each query, [q, d]."""
    positive_query: Tensor | None = None
    """Row [n+] of `queries` to which each positive row is an answer."""
    negative_query: Tensor | None = None
    """Row [n-] of `queries` to which each negative row is an answer."""
    positive_means: Tensor | None = None
    """Mean state of the tokens of each positive answer, [n+, d]."""
    negative_means: Tensor | None = None
    """Mean state of the tokens of each negative answer, [n-, d]."""
    trajectories: Sequence[Tensor] | None = None
    """States [t, d] of the tokens of each answer, positive ones first."""
    rewards: Tensor | None = None
    """Reward [n+ + n-] of each answer in `trajectories`."""
    site: Site = field(default_factory=lambda: Site(0))
    """Names the site in errors."""

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted, with a FitError that names it."""
        _check_class("positive", self.site, self.positive)
        _check_class("negative", self.site, self.negative)
        _check_both(self.site, self.positive, self.negative)
        for name in ("queries", "positive_means", "negative_means"):
            part = getattr(self, name)
            if part is not None:
                _check_class(name, self.site, part)

    def differences(self) -> Tensor:
        """Positive minus negative of each pair, float64 [m, d]. Needs `pairs`."""
        assert self.pairs is not None
        rows, others = self.pairs.unbind(dim=1)
        return self.positive[rows].double() - self.negative[others].double()


@dataclass(frozen=True)
class ContrastData:
    """Activations by site; `SiteData` explains the fields."""

    positive: Mapping[Site, Tensor]
    """Wanted behaviour, [n+, d] for each site."""
    negative: Mapping[Site, Tensor]
    """Unwanted behaviour, [n-, d] for each site."""
    pairs: Tensor | None = None
    """Pairs of rows [m, 2]."""
    queries: Mapping[Site, Tensor] | None = None
    """States of queries, [q, d] for each site."""
    positive_query: Tensor | None = None
    """Query of each positive row [n+]."""
    negative_query: Tensor | None = None
    """Query of each negative row [n-]."""
    positive_means: Mapping[Site, Tensor] | None = None
    """Mean states of positive answers, [n+, d] for each site."""
    negative_means: Mapping[Site, Tensor] | None = None
    """Mean states of negative answers, [n-, d] for each site."""
    trajectories: Mapping[Site, Sequence[Tensor]] | None = None
    """States of the tokens of each answer, one [t, d] an answer, for each site."""
    rewards: Tensor | None = None
    """Reward of each answer in `trajectories`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted, with a FitError that names it."""
        if not self.positive:
            raise FitError("the contrast data has no site", "Name at least one layer.")
        for site in self.positive:
            self.at(site)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, lowest first."""
        return tuple(sorted(self.positive))

    def at(self, site: Site) -> SiteData:
        """The data of one site."""
        return SiteData(
            self.positive[site],
            self.negative[site],
            self.pairs,
            _of(self.queries, site),
            self.positive_query,
            self.negative_query,
            _of(self.positive_means, site),
            _of(self.negative_means, site),
            _of(self.trajectories, site),
            self.rewards,
            site,
        )


def two_classes(positive: Tensor, negative: Tensor, site: Site) -> ContrastData:
    """Data of one site from two matrices of activations alone, [n+, d] and [n-, d].

    As many rows of both classes count as pairs in their order. Each row is an answer of a single
    token, with reward 1 for positive ones and 0 for negative ones.
    """
    positive, negative = positive.detach().cpu().float(), negative.detach().cpu().float()
    pairs = None
    if len(positive) == len(negative):
        pairs = torch.arange(len(positive))[:, None].expand(-1, 2)
    rows = [*torch.split(positive, 1), *torch.split(negative, 1)]
    return ContrastData(
        {site: positive},
        {site: negative},
        pairs=pairs,
        trajectories={site: rows},
        rewards=torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]),
    )


def _of(part: Mapping[Site, T] | None, site: Site) -> T | None:
    return None if part is None else part[site]


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


def _check_both(site: Site, positive: Tensor, negative: Tensor) -> None:
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
