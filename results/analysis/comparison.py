"""One comparison of two settings: the test and the interval that suit its scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from steereval.results.analysis.pairing import Pair, Side
from steereval.results.analysis.scores import NO_FOLD, Seed, TaskScores
from steereval.results.stats import Effect, Guard, crossed_effect, mcnemar_midp, ratio_effect
from steereval.results.stats.effect import Floats, Labels
from steereval.results.store.manifest import BINARY, RATIO, Metric

WITH_MCNEMAR = "t with two pseudo-pairs, and McNemar mid-p"
"""The test of one run of binary scores: the larger one of both p-values."""

NOT_FINITE = "some values are infinite, so no difference can be estimated"
NO_TOKENS = "a side has no tokens at all, so it has no perplexity"
NO_ITEMS = "no test item is measured in every arm"


@dataclass(frozen=True)
class Grouping:
    """How the items of a comparison depend on each other."""

    clusters: Labels | None
    """[items], None where every item is a cluster of its own."""

    folds: Labels | None
    """[items], None where nothing is cross-fitted."""

    n_clusters: int
    """Number of clusters, single items included."""

    n_unclustered: int
    """Number of items whose cluster is not known."""

    n_folds: int
    """Number of folds; 1 where nothing is cross-fitted."""


@dataclass(frozen=True)
class Comparison:
    """A difference a - b with its test, and what the test rests on."""

    effect: Effect
    """In the metric's own direction; for a ratio the logarithm."""

    values: Floats
    """[items, seeds], whose mean is the estimate; for a ratio the influence values."""

    seeds: tuple[Seed, ...]
    """The fit seeds, the columns of `values`."""

    grouping: Grouping
    """Clusters and folds of the items compared."""

    discordant: tuple[float, float] | None
    """Items that speak for a and for b, of binary scores: means over the seeds."""

    @property
    def labels(self) -> Labels:
        """[items], clusters, with single items for lack of any."""
        labels = self.grouping.clusters
        return np.arange(len(self.values)) if labels is None else labels


def untestable(pair: Pair | None, metric: Metric) -> str | None:
    """Why nothing can be compared, in words; None if it can."""
    if pair is None or not pair.items.any():
        return NO_ITEMS
    if not (pair.a.finite and pair.b.finite):
        return NOT_FINITE
    if metric.kind == RATIO and not (_has_tokens(pair.a) and _has_tokens(pair.b)):
        return NO_TOKENS
    return None


def compare(pair: Pair, metric: Metric, scores: TaskScores, confidence: float) -> Comparison:
    """The difference of a testable pair, by one test from which its interval follows too."""
    return compare_grouped(pair, metric, group_items(scores, pair), confidence)


def compare_grouped(
    pair: Pair, metric: Metric, grouping: Grouping, confidence: float
) -> Comparison:
    """`compare` where clusters and folds of the pair's items are given."""
    a, b = pair.a.broadcast(len(pair.seeds)), pair.b.broadcast(len(pair.seeds))
    guard = guard_of(metric)
    if metric.kind == RATIO:
        effect = ratio_effect(
            *(a.values, b.values, a.weights, b.weights),
            clusters=grouping.clusters,
            folds=grouping.folds,
            confidence=confidence,
            guard=guard,
        )
        influence = a.influence(True) - b.influence(True)
        return Comparison(effect, influence, pair.seeds, grouping, None)
    diff = a.values - b.values
    counts = _discordant(a.values, b.values) if metric.kind == BINARY else None
    effect = crossed_effect(diff, grouping.clusters, grouping.folds, confidence, guard=guard)
    if counts is not None and len(pair.seeds) == 1 and grouping.clusters is None:
        effect = _with_mcnemar(effect, int(counts[0]), int(counts[1]))
    return Comparison(effect, diff, pair.seeds, grouping, counts)


def guard_of(metric: Metric) -> Guard:
    """The scale of a difference of two scores."""
    if not metric.in_points:
        return Guard()
    return Guard(-1.0, 1.0, metric.kind == BINARY)


def group_items(scores: TaskScores, pair: Pair) -> Grouping:
    """Clusters and folds of the items of `pair`."""
    labels, folds = scores.clusters[pair.items], scores.folds[pair.items]
    n_clusters, n_folds = len(np.unique(labels)), len(np.unique(folds))
    return Grouping(
        clusters=labels if n_clusters < len(labels) else None,
        folds=folds if n_folds > 1 else None,
        n_clusters=n_clusters,
        n_unclustered=int(np.count_nonzero(~scores.has_cluster[pair.items])),
        n_folds=1 if set(folds) <= {NO_FOLD} else n_folds,
    )


def seed_of(name: str) -> int:
    """A seed from what is computed, so that results depend on no order and no worker."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _has_tokens(side: Side) -> bool:
    return bool(np.all(side.weights.sum(axis=0) > 0))


def _discordant(a: Floats, b: Floats) -> tuple[float, float] | None:
    """Mean over seeds of the items for a and for b; None if draws were averaged."""
    if not np.isin(a, (0.0, 1.0)).all() or not np.isin(b, (0.0, 1.0)).all():
        return None
    n_seeds = a.shape[1]
    return float(np.sum(a > b) / n_seeds), float(np.sum(a < b) / n_seeds)


def _with_mcnemar(effect: Effect, b: int, c: int) -> Effect:
    """`effect` by the larger one of its own p-value and McNemar's; its interval holds 0 where this
    does not reject."""
    p_value = max(effect.p_value, mcnemar_midp(b, c))
    effect = replace(effect, p_value=p_value, p_robust=p_value, test=WITH_MCNEMAR)
    if p_value < 1.0 - effect.confidence:
        return effect
    return replace(effect, low=min(effect.low, 0.0), high=max(effect.high, 0.0))
