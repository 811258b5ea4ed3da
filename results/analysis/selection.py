"""Choosing strengths on validation items, per arm and fit seed, before any test item counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.pairing import Setting, Side, one_side
from steereval.results.analysis.scores import Arm, Seed, TaskScores
from steereval.results.store.manifest import RATIO, Metric, Plan, Task

NOT_CHOSEN = "not chosen on validation items"
ONLY_STRENGTH = "the only strength in the grid"
IMPORTED = "imported"


@dataclass(frozen=True)
class Choice:
    """The frozen strength of one arm and fit seed."""

    strength: float
    """The strength with the best validation score."""

    validation_score: float
    """That score: the mean of the metric (for a ratio the exponential) over validation items."""

    n_candidates: int
    """The number of strengths that were compared, the arm's budget."""


@dataclass(frozen=True)
class Rule:
    """From which task and metric a strength is taken."""

    task: str
    metric: Metric
    substituted: bool
    """Whether the grid's metric is not one of this task, so its primary metric serves instead."""

    @property
    def words(self) -> str:
        """How the strength was chosen, in words."""
        return f"on validation items of {self.task} by {self.metric.name}, for each fit seed"


def selection_rule(plan: Plan, task: Task) -> Rule | None:
    """The rule for `task`; None if every strength is to be reported."""
    if plan.select is None:
        return None
    source = task if task.is_target else first_target(plan, task)
    if plan.select.task is not None:
        source = plan.tasks.get(plan.select.task, source)
    wanted = plan.select.metric or source.primary
    metric = source.metrics.get(wanted) or source.metrics.get(source.primary)
    if metric is None:
        return None
    return Rule(source.name, metric, substituted=metric.name != wanted)


def first_target(plan: Plan, otherwise: Task) -> Task:
    """The first target task of the grid."""
    return next((task for task in plan.tasks.values() if task.is_target), otherwise)


def choose(scores: TaskScores, arm: Arm, metric: Metric) -> dict[Seed, Choice]:
    """{fit seed: choice} of `arm`; a seed without any finite validation score is left out.

    The strengths of a seed are compared on the validation items that all of them have. Ties go to
    the smaller strength.
    """
    chosen = {}
    for seed in sorted({c.fit_seed for c in scores.cells if c.arm == arm}, key=_none_first):
        means = validation_means(scores, arm, seed, metric)
        finite = {s: mean for s, mean in means.items() if np.isfinite(mean)}
        if finite:
            sign = 1 if metric.higher_is_better else -1
            best = min(finite, key=lambda s: (-sign * finite[s], abs(s), s))
            chosen[seed] = Choice(best, finite[best], len(means))
    return chosen


def validation_means(
    scores: TaskScores, arm: Arm, seed: Seed, metric: Metric
) -> Mapping[float, float]:
    """{strength: score over the validation items that all strengths of this fit seed have}."""
    strengths = sorted({c.strength for c in scores.cells if c.arm == arm and c.fit_seed == seed})
    ratio = metric.kind == RATIO
    sides = {
        s: side
        for s in strengths
        if (side := one_side(scores, Setting(arm, {seed: s}), metric.name, ratio)) is not None
    }
    sides = {s: side for s, side in sides.items() if (side.measured & ~scores.is_test).any()}
    items = ~scores.is_test
    for side in sides.values():
        items = items & side.measured
    if not items.any():
        return {}
    return {s: _mean(side.take(items), ratio) for s, side in sides.items()}


def _mean(side: Side, ratio: bool) -> float:
    if not ratio:
        return float(side.values.mean())
    tokens = float(side.weights.sum())
    with np.errstate(over="ignore"):
        return float(np.exp(side.values.sum() / tokens)) if tokens > 0 else float("nan")


def _none_first(seed: Seed) -> tuple[bool, int]:
    return seed is not None, seed or 0
