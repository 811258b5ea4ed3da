"""Data of a diagnosis: held-out statements with their states, and natural activations."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steereval.harness.diagnose.units import Unit, parts_of
from steereval.harness.engine.fitter import Fitter, parse_layers
from steereval.models.diagnostics.manifold import Manifold
from steereval.models.inference.extraction import States
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.results.store.diagnosis import PartSize, PartSizes
from steereval.tasks.contrast.registry import ContrastSet, Statement

TOKENS = (1, 2, 4, 8, 16)
"""Tokens of an answer, counted from 1, at whose states methods are tried."""


@dataclass(frozen=True)
class Position:
    """The states of the statements at one position of their texts."""

    name: str
    """`last`, `query`, `mean` or `token 4`."""
    states: Tensor
    """[m, d], float64."""
    rows: Tensor
    """Which of the statements have it, int64 [m]."""


@dataclass(frozen=True)
class Material:
    """All that the steerers of a unit are measured on, at one site."""

    contrast: ContrastSet
    """The whole contrast set."""
    fit: ContrastSet
    """The part that steerers are fitted to."""
    judge: ContrastSet
    """The part that the barrier which judges them is fitted to."""
    site: Site
    """Where activations are read: the highest block of the unit's layers."""
    statements: tuple[Statement, ...]
    """Those of the third part that are measured on."""
    x: Tensor
    """Their states [n, d] where steerers are fitted (`ContrastSpec.token`), float64."""
    queries: Tensor
    """States [n, d] of the last tokens of their queries; those of x where there are none."""
    positions: tuple[Position, ...]
    """Their states at other positions too."""
    positive: Tensor
    """States [n+, d] of the wanted class of the part for fits."""
    negative: Tensor
    """States [n-, d] of the other class of it."""
    natural: Manifold
    """The positive states of the judge's part, which no steerer has seen."""
    median_norm: float
    """Of the states of the part for fits."""

    @property
    def ids(self) -> list[str]:
        """A name of each statement."""
        return [_rank(statement)[:16] for statement in self.statements]

    @property
    def clusters(self) -> list[str]:
        """The key of each statement: its question."""
        return [statement.key for statement in self.statements]

    @property
    def labels(self) -> Tensor:
        """Whether each statement is of the wanted class, bool [n]."""
        return torch.tensor([statement.positive for statement in self.statements])

    def counts(self) -> PartSizes:
        """Questions and statements of the three parts."""
        fit, judge, test = (
            PartSize(
                keys=len({s.key for s in statements}),
                positive=sum(s.positive for s in statements),
                negative=sum(not s.positive for s in statements),
            )
            for statements in (self.fit.statements, self.judge.statements, self.statements)
        )
        return PartSizes(fit=fit, judge=judge, test=test)


def material_of(unit: Unit, contrast: ContrastSet, fitter: Fitter) -> Material:
    """Read what is missing through the model of `fitter`. Raises a SteerEvalError."""
    fit, judge, test = parts_of(contrast)
    site = Site(max(parse_layers(unit.layer, len(find_blocks(fitter.reader.model)))))
    template, token = unit.contrast.template, unit.contrast.token
    statements = chosen(test.statements, unit.items)
    has_questions = all(statement.question is not None for statement in statements)
    small = dataclasses.replace(contrast, statements=statements)
    wanted = {
        part: [site] for part in ("last", "mean", "tokens", *(["query"] if has_questions else []))
    }
    states = fitter.store.states(small, template, wanted)
    lengths = fitter.store.answer_lengths(statements, template)
    positions = tuple(_positions(states, site, lengths))
    by_name = {position.name: position.states for position in positions}

    def of(part: ContrastSet, positive: bool) -> Tensor:
        rows = [s for s in part.statements if s.positive == positive]
        return fitter.states(contrast, rows, template, {token: [site]})[token][site]

    both = of(fit, True), of(fit, False)
    return Material(
        contrast=contrast,
        fit=fit,
        judge=judge,
        site=site,
        statements=statements,
        x=by_name[token],
        queries=by_name.get("query", by_name[token]),
        positions=positions,
        positive=both[0],
        negative=both[1],
        natural=Manifold.of(of(judge, True)),
        median_norm=float(torch.cat(both).double().norm(dim=1).median()),
    )


def chosen(statements: Sequence[Statement], count: int) -> tuple[Statement, ...]:
    """At most `count` of the statements, as many of each class as there are; by hash, so that the
    choice depends on nothing else."""
    ranked = sorted(dict.fromkeys(statements), key=_rank)
    positive = [s for s in ranked if s.positive]
    negative = [s for s in ranked if not s.positive]
    most = max(count // 2, count - len(negative))
    positives = positive[:most]
    return tuple(sorted([*positives, *negative[: count - len(positives)]], key=_rank))


def _rank(statement: Statement) -> str:
    text = "\x1f".join((statement.key, str(statement.positive), statement.answer))
    return hashlib.sha256(text.encode()).hexdigest()


def _positions(states: States, site: Site, lengths: Sequence[int]) -> Iterator[Position]:
    for part in ("last", "query", "mean"):
        if part in states:
            activations = states[part][site].double()
            yield Position(part, activations, torch.arange(len(activations)))
    count = torch.tensor(lengths)
    starts = count.cumsum(0) - count
    for token in TOKENS:
        rows = torch.nonzero(count >= token)[:, 0]
        if len(rows):
            activations = states["tokens"][site][starts[rows] + token - 1].double()
            yield Position(f"token {token}", activations, rows)
