"""Choosing strengths on validation items, per arm and fit seed, before any test item counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The number of settings that were compared: strengths, or layers and strengths."""


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


def choose(
    scores: TaskScores, arms: Sequence[Arm], metric: Metric
) -> dict[Arm, dict[Seed, Choice]]:
    """The best strength of each of `arms` for each fit seed, by validation items.

    The settings of a seed, of all arms, are compared on the validation items that all of them have.
    Ties go to the smaller strength.

    Args:
        scores: Scores of the task that strengths are chosen on.
        arms: One arm, or those among which a layer is to be chosen too.
        metric: The metric to choose by.

    Returns:
        {arm: {fit seed: choice}}, without arms and seeds that have no finite validation score.
    """
    sign = 1 if metric.higher_is_better else -1
    choices: dict[Arm, dict[Seed, Choice]] = {}
    for seed in sorted({c.fit_seed for c in scores.cells if c.arm in arms}, key=_none_first):
        means = validation_means(scores, arms, seed, metric)
        finite = {setting: mean for setting, mean in means.items() if np.isfinite(mean)}
        for arm in arms:
            by_strength = {s: mean for (of, s), mean in finite.items() if of == arm}
            if by_strength:
                best = min(by_strength, key=lambda s: (-sign * by_strength[s], abs(s), s))
                choice = Choice(best, by_strength[best], len(means))
                choices.setdefault(arm, {})[seed] = choice
    return choices


def validation_means(
    scores: TaskScores, arms: Sequence[Arm], seed: Seed, metric: Metric
) -> Mapping[tuple[Arm, float], float]:
    """{(arm, strength): score over the validation items that all settings of this fit seed have};
    settings without any are left out."""
    settings = sorted(
        {(c.arm, c.strength) for c in scores.cells if c.arm in arms and c.fit_seed == seed},
        key=lambda setting: (arms.index(setting[0]), setting[1]),
    )
    ratio = metric.kind == RATIO
    sides = {
        (arm, s): side
        for arm, s in settings
        if (side := one_side(scores, Setting(arm, {seed: s}), metric.name, ratio)) is not None
    }
    sides = {key: side for key, side in sides.items() if (side.measured & ~scores.is_test).any()}
    items = ~scores.is_test
    for side in sides.values():
        items = items & side.measured
    if not items.any():
        return {}
    return {key: _mean(side.take(items), ratio) for key, side in sides.items()}


def _mean(side: Side, ratio: bool) -> float:
    if not ratio:
        return float(side.values.mean())
    tokens = float(side.weights.sum())
    with np.errstate(over="ignore"):
        return float(np.exp(side.values.sum() / tokens)) if tokens > 0 else float("nan")


def _none_first(seed: Seed) -> tuple[bool, int]:
    return seed is not None, seed or 0
