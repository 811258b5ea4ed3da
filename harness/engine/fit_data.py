"""Statements of a contrast set and their activations in the form that methods are fitted to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import ContrastError
from steereval.harness.engine.fit_request import FitRequest
from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.inference.extraction import States
from steereval.models.steering.hook_points import Site
from steereval.tasks.contrast.registry import ContrastSet, Statement
from steereval.tasks.contrast.rewards import rewards_of


def chosen_statements(chosen: ContrastSet, request: FitRequest) -> list[Statement]:
    """The statements of `chosen` that a fit uses, positive ones first."""
    if request.fraction < 1:
        chosen = chosen.subset(request.fraction, request.seed)
    return _by_class(chosen, chosen.statements)


def _by_class(contrast: ContrastSet, chosen: Sequence[Statement]) -> list[Statement]:
    """The statements, positive ones first."""
    positive = [s for s in chosen if s.positive]
    negative = [s for s in chosen if not s.positive]
    if not positive or not negative:
        raise ContrastError(
            f"contrast set {contrast.name} leaves {len(positive)} positive and "
            f"{len(negative)} negative texts to fit to",
            "Use a larger fraction, or a larger set.",
        )
    return positive + negative


def contrast_data(
    sites: Sequence[Site], statements: Sequence[Statement], states: States, token: str
) -> ContrastData:
    """The states of statements, positive ones first, in the form that methods take."""
    count = sum(s.positive for s in statements)
    positive = {site: states[token][site][:count] for site in sites}
    negative = {site: states[token][site][count:] for site in sites}
    query_numbers, first = _queries(statements)
    extra: dict[str, Any] = {}
    if "query" in states:
        extra["queries"] = {site: states["query"][site][first] for site in sites}
    if "mean" in states:
        extra["positive_means"] = {site: states["mean"][site][:count] for site in sites}
        extra["negative_means"] = {site: states["mean"][site][count:] for site in sites}
    return ContrastData(
        positive,
        negative,
        pairs=_pairs(statements[:count], statements[count:]),
        positive_query=query_numbers[:count],
        negative_query=query_numbers[count:],
        **extra,
    )


def with_answers(
    data: ContrastData,
    tokens: Mapping[Site, Tensor],
    lengths: Sequence[int],
    statements: Sequence[Statement],
    reward: str,
) -> ContrastData:
    """The states of every token of every answer, and what the answer is worth."""
    return dataclasses.replace(
        data,
        trajectories={site: torch.split(states, list(lengths)) for site, states in tokens.items()},
        rewards=torch.tensor(rewards_of(reward, statements)),
    )


def _queries(statements: Sequence[Statement]) -> tuple[Tensor, Tensor]:
    """Number of each statement's query, and the first statement of each query."""
    first: dict[str, int] = {}
    for index, statement in enumerate(statements):
        first.setdefault(statement.key, index)
    order = {key: number for number, key in enumerate(first)}
    return torch.tensor([order[s.key] for s in statements]), torch.tensor(list(first.values()))


def _pairs(positive: Sequence[Statement], negative: Sequence[Statement]) -> Tensor | None:
    """Rows of positive and negative statements with the same pair number."""
    rows = {s.pair: index for index, s in enumerate(negative) if s.pair is not None}
    pairs = [[i, rows[s.pair]] for i, s in enumerate(positive) if s.pair in rows]
    return torch.tensor(pairs) if pairs else None
