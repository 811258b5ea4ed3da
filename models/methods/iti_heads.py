"""Inference-time intervention on attention heads, as published.

Li et al. 2023, "Inference-Time Intervention: Eliciting Truthful Answers from a Language Model"
(arXiv 2306.03341): a logistic probe per head on a training part, the heads whose probes do best on
the held-out part, a shift by T sigma theta at each of them, where theta is the unit difference of
the class means ("mass mean shift") and sigma the standard deviation along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.common.limits import Fraction, Positive
from steereval.models.fitting.contrast_data import ContrastData, SiteData
from steereval.models.fitting.logistic import fit_logistic
from steereval.models.methods.barrier_flow import LogisticOptions
from steereval.models.methods.caa import mean_difference, shift_along
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import CONSTANT, Method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class ItiHeadsOptions(LogisticOptions):
    """How heads are chosen."""

    heads: Positive[int] = 48
    """Number of heads that are steered; all of them if the layers have fewer."""
    held_out: Fraction = 0.2
    """Share of the samples on which probes are compared."""


class ItiHeads(Method):
    """The best heads of all layers given."""

    name = "iti_heads"
    summary = "inference-time intervention at the attention heads whose probes do best"
    seeded = True
    reads = "heads"
    has = frozenset({CONSTANT})
    kinds = (ConstantShift,)
    Options = ItiHeadsOptions

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Steerers at the chosen heads alone."""
        train, held = split_by_question(data, options.held_out, seed)
        accuracies = {site: _accuracy(data.at(site), train, held, options) for site in data.sites}
        # Ties are broken by the order of the heads, so that a fit is reproducible.
        best = sorted(accuracies, key=lambda site: -accuracies[site])[: options.heads]
        return {site: _shift(data.at(site)) for site in sorted(best)}


Rows = tuple[Tensor, Tensor]
"""Rows of the positive and of the negative class."""


def split_by_question(data: ContrastData, held_out: float, seed: int) -> tuple[Rows, Rows]:
    """Rows for training and for comparing; all answers to a question stay on one side."""
    generator = torch.Generator().manual_seed(seed)
    site = data.sites[0]
    parts: list[tuple[Tensor, Tensor]] = []
    for states, query in (
        (data.positive[site], data.positive_query), (data.negative[site], data.negative_query),
    ):  # fmt: skip
        if query is None:
            rank = torch.rand(len(states), generator=generator)
        else:
            highest = max(int(q.max()) for q in (data.positive_query, data.negative_query)
                          if q is not None)  # fmt: skip
            # The same draw for both classes: the answers to one question share its side.
            rank = torch.rand(highest + 1, generator=torch.Generator().manual_seed(seed))[query]
        parts.append(_sides(rank, held_out))
    return (parts[0][0], parts[1][0]), (parts[0][1], parts[1][1])


def _sides(rank: Tensor, held_out: float) -> tuple[Tensor, Tensor]:
    held = rank < held_out
    if bool(held.all()) or not bool(held.any()):
        raise FitError(
            f"{len(rank)} activations of a class cannot be split to choose heads by",
            "Give more samples, or change held_out.",
        )
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def _accuracy(data: SiteData, train: Rows, held: Rows, options: ItiHeadsOptions) -> float:
    weights, intercept = fit_logistic(
        data.positive[train[0]], data.negative[train[1]], options.C, options.max_iterations
    )
    right = (data.positive[held[0]].double() @ weights + intercept > 0).sum()
    right += (data.negative[held[1]].double() @ weights + intercept <= 0).sum()
    return float(right) / (len(held[0]) + len(held[1]))


def _shift(data: SiteData) -> ConstantShift:
    direction = mean_difference(data, "iti_heads")
    direction = direction / direction.norm()
    both = torch.cat([data.positive, data.negative]).double()
    return shift_along(direction * (both @ direction).std(), data)
