"""Rank intervals of the arms of one table, from tests of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from steereval.results.analysis.comparison import Grouping, group_items, guard_of, untestable
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Pair, Setting, one_side, pair
from steereval.results.analysis.scores import Mask, TaskScores
from steereval.results.stats import adjust, crossed_estimates, least_p, mcnemar_midp, rank_intervals
from steereval.results.stats.effect import Floats
from steereval.results.store.manifest import BINARY, RATIO, Metric

Ranks = dict[int, tuple[int, int]]
"""{place in the list of rows: (best, worst)}."""

Key = tuple[int, int]
"""A pair of settings, by their places."""

_TOGETHER = 256


def ranks_of(rows: Sequence[Row], scores: TaskScores, alpha: float) -> Ranks:
    """Rank intervals of the rows of one table; rows that cannot be compared have none.

    All pairs are tested on the items that every arm has, by the report's own seed-robust test, and
    adjusted by Holm.
    """
    usable = [i for i, row in enumerate(rows) if _is_usable(row)]
    settings = [Setting(rows[i].arm, rows[i].strengths) for i in usable]
    paired = _all_pairs(settings, rows[0].metric, scores) if len(usable) > 1 else {}
    if not paired:
        return {}
    matrix = np.ones((len(usable), len(usable)))
    adjusted = adjust(_p_values(rows[0], paired, scores), "holm")
    for (j, k), p in zip(paired, adjusted, strict=True):
        matrix[j, k] = matrix[k, j] = p
    means = _means(settings, rows[0].metric, scores, next(iter(paired.values())).items)
    return dict(zip(usable, rank_intervals(means, matrix, alpha), strict=True))


def _is_usable(row: Row) -> bool:
    return row.score is not None and bool(np.isfinite(row.score.mean))


def _all_pairs(settings: Sequence[Setting], metric: Metric, scores: TaskScores) -> dict[Key, Pair]:
    """Every pair; empty if one of them has nothing to compare."""
    items = scores.tested(metric.name)
    pairs = {
        (j, k): pair(scores, settings[j], settings[k], metric.name, metric.kind == RATIO, items)
        for j, k in combinations(range(len(settings)), 2)
    }
    if any(untestable(paired, metric) for paired in pairs.values()):
        return {}
    return {key: paired for key, paired in pairs.items() if paired is not None}


def _means(
    settings: Sequence[Setting], metric: Metric, scores: TaskScores, items: Mask
) -> list[float]:
    """The settings' scores on `items`, with higher for better."""
    ratio, sign = metric.kind == RATIO, 1 if metric.higher_is_better else -1
    sides = (one_side(scores, setting, metric.name, ratio) for setting in settings)
    return [
        sign * float(side.take(items).influence(ratio).mean()) for side in sides if side is not None
    ]


def _p_values(row: Row, pairs: dict[Key, Pair], scores: TaskScores) -> list[float]:
    """One for each pair, in their order, by the test of `comparison.compare` in its seed-robust
    form; all pairs have the same items."""
    ratio = row.metric.kind == RATIO
    grouping = group_items(scores, next(iter(pairs.values())))
    alike: dict[int, dict[Key, Floats]] = {}
    for key, paired in pairs.items():
        n_seeds = len(paired.seeds)
        a, b = paired.a.broadcast(n_seeds), paired.b.broadcast(n_seeds)
        alike.setdefault(n_seeds, {})[key] = a.influence(ratio) - b.influence(ratio)
    p_values = dict.fromkeys(pairs, 1.0)
    if grouping.n_clusters > 1:
        for diffs in alike.values():
            p_values |= _tested(diffs, grouping, row.metric)
    return list(p_values.values())


def _tested(diffs: dict[Key, Floats], grouping: Grouping, metric: Metric) -> dict[Key, float]:
    keys = list(diffs)
    p_values: dict[Key, float] = {}
    for start in range(0, len(keys), _TOGETHER):
        part = keys[start : start + _TOGETHER]
        stack = np.stack([diffs[key] for key in part])
        estimates = crossed_estimates(
            stack, grouping.clusters, grouping.folds, guard=guard_of(metric)
        )
        p_values |= dict(zip(part, map(float, estimates.p_robust), strict=True))
    if next(iter(diffs.values())).shape[1] > 1:
        return p_values
    return {key: max(p, _least(diffs[key], grouping, metric)) for key, p in p_values.items()}


def _least(diff: Floats, grouping: Grouping, metric: Metric) -> float:
    """Lower bounds of a p-value of one seed: the sign test over clusters, and McNemar's test."""
    least = least_p(grouping.n_clusters)
    if metric.kind != BINARY or grouping.clusters is not None or not _is_binary(diff):
        return least
    return max(least, mcnemar_midp(int(np.sum(diff > 0)), int(np.sum(diff < 0))))


def _is_binary(diff: Floats) -> bool:
    return bool(np.isin(diff, (-1.0, 0.0, 1.0)).all())
