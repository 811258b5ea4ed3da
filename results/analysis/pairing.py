"""Two settings side by side: matrices items × fit seeds, paired by item and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.scores import Arm, Mask, Scores, Seed, TaskScores
from steereval.results.stats import log_ratio_influence
from steereval.results.stats.effect import Floats, Labels

Strengths = Mapping[Seed, float]
"""{fit seed: strength}; for an unseeded arm {None: strength}."""

Draw = tuple[int, int]
"""(sample seed, few-shot seed); draws are averaged within a fit seed."""


@dataclass(frozen=True)
class Setting:
    """An arm at its strength, which may differ between fit seeds."""

    arm: Arm
    strengths: Strengths


@dataclass(frozen=True)
class Side:
    """A setting's scores over items × fit seeds."""

    values: Floats
    """[items, seeds]: means over the draws; for a ratio metric sums. NaN where one is missing."""

    weights: Floats
    """[items, seeds]: for a ratio metric the summed tokens, else 1."""

    seeds: tuple[Seed, ...]
    """The fit seeds; (None,) where nothing was fitted."""

    subtasks: Labels | None = None
    """[items], codes, for a metric that is the mean of a group's subtasks; else None."""

    @property
    def measured(self) -> Mask:
        """[items], whether every seed has a value."""
        return np.asarray(~np.isnan(self.values).any(axis=1), dtype=np.bool_)

    @property
    def finite(self) -> bool:
        """Whether no value is infinite."""
        return not bool(np.isinf(self.values).any())

    def take(self, items: Mask) -> Side:
        """The same with the items of `items` only.

        The mean over items of the values is the score: those of a subtask with n of N items are
        multiplied by N/(T n), T the number of subtasks, where each subtask counts the same.
        """
        values = self.values[items]
        if self.subtasks is not None and len(values):
            _, codes, sizes = np.unique(
                self.subtasks[items], return_inverse=True, return_counts=True
            )
            values = values * (len(codes) / (len(sizes) * sizes[codes]))[:, None]
        return Side(values, self.weights[items], self.seeds)

    def influence(self, ratio: bool) -> Floats:
        """[items, seeds]: values whose mean is the score (for a ratio: its logarithm)."""
        return log_ratio_influence(self.values, self.weights) if ratio else self.values

    def broadcast(self, n_seeds: int) -> Side:
        """The same with its single seed repeated, to be paired with `n_seeds` fits."""
        if self.values.shape[1] == n_seeds:
            return self
        shape = (len(self.values), n_seeds)
        values, weights = np.broadcast_to(self.values, shape), np.broadcast_to(self.weights, shape)
        return Side(values, weights, self.seeds)


@dataclass(frozen=True)
class Pair:
    """Two settings over the same items and seeds."""

    a: Side
    b: Side
    items: Mask
    """[all items of the task], those that both sides have; their number is the sides' height."""

    seeds: tuple[Seed, ...]
    """The fit seeds of the comparison."""


Draws = dict[Seed, dict[Draw, Scores]]
"""A setting's scores by fit seed and draw."""


def one_side(scores: TaskScores, setting: Setting, metric: str, ratio: bool) -> Side | None:
    """The scores of one setting by itself; None if no cell of it finished."""
    cells = draws_of(scores, setting, metric)
    if not cells:
        return None
    draws = {seed: sorted(draws) for seed, draws in cells.items()}
    return _side(cells, draws, ratio, scores.subtasks_of(metric))


def pair(
    scores: TaskScores, a: Setting, b: Setting, metric: str, ratio: bool, items: Mask
) -> Pair | None:
    """`a` paired with `b` on those of `items` that both have; None if nothing pairs.

    Fit seeds pair with each other; an unseeded side is broadcast. Within a fit seed only those
    draws count that both sides have.
    """
    found_a, found_b = draws_of(scores, a, metric), draws_of(scores, b, metric)
    common = {
        seed: (seed_a, seed_b, sorted(found_a[seed_a].keys() & found_b[seed_b].keys()))
        for seed, seed_a, seed_b in paired_seeds(found_a, found_b)
    }
    common = {seed: entry for seed, entry in common.items() if entry[2]}
    if not common:
        return None
    draws, subtasks = _third(common), scores.subtasks_of(metric)
    side_a = _side({s: found_a[e[0]] for s, e in common.items()}, draws, ratio, subtasks)
    side_b = _side({s: found_b[e[1]] for s, e in common.items()}, draws, ratio, subtasks)
    both = items & side_a.measured & side_b.measured
    return Pair(side_a.take(both), side_b.take(both), both, tuple(common))


def _third(common: dict[Seed, tuple[Seed, Seed, list[Draw]]]) -> dict[Seed, list[Draw]]:
    return {seed: draws for seed, (_, _, draws) in common.items()}


def paired_seeds(a: Draws, b: Draws) -> list[tuple[Seed, Seed, Seed]]:
    """(seed of the comparison, seed of a, seed of b)."""
    if set(b) == {None}:
        return [(seed, seed, None) for seed in a]
    if set(a) == {None}:
        return [(seed, None, seed) for seed in b]
    return [(seed, seed, seed) for seed in a if seed in b]


def draws_of(scores: TaskScores, setting: Setting, metric: str) -> Draws:
    """The vectors of the setting's finished cells by fit seed and draw, ordered by seed."""
    draws: Draws = {}
    for cell in scores.cells_of.get(setting.arm, []):
        if setting.strengths.get(cell.fit_seed) == cell.strength and metric in scores.cells[cell]:
            draw = (cell.sample_seed, cell.fewshot_seed)
            draws.setdefault(cell.fit_seed, {})[draw] = scores.cells[cell][metric]
    return draws


def _side(
    cells: Draws, draws: dict[Seed, list[Draw]], ratio: bool, subtasks: Labels | None
) -> Side:
    columns = [_column([cells[seed][d] for d in draws[seed]], ratio) for seed in cells]
    return Side(
        values=np.column_stack([values for values, _ in columns]),
        weights=np.column_stack([weights for _, weights in columns]),
        seeds=tuple(cells),
        subtasks=subtasks,
    )


def _column(draws: list[Scores], ratio: bool) -> tuple[Floats, Floats]:
    values = np.sum([d.values for d in draws], axis=0)
    weights = np.sum([d.weights for d in draws], axis=0)
    return (values, weights) if ratio else (values / len(draws), weights / len(draws))
