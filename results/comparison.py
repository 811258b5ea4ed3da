"""One comparison of two settings: the test and the interval that suit its scores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from steereval.results.manifest import BINARY, BOUNDED, RATIO, Metric
from steereval.results.pairing import Pair, Side
from steereval.results.scores import NO_FOLD, Seed, TaskScores
from steereval.results.stats import (
    Effect,
    bca_interval,
    crossed_effect,
    mcnemar_midp,
    paired_proportion_ci,
    ratio_effect,
    sign_flip_p_values,
)
from steereval.results.stats.crossed import RESAMPLES, T_OVER_ITEMS, with_sign_flip
from steereval.results.stats.effect import Floats, Labels
from steereval.results.stats.student import t_quantile, t_tail

FEW_ITEMS = 200
"""Below it the interval of paired proportions is Bonett and Price's."""

FEW_DISCORDANT = 25
"""Below so many discordant pairs likewise."""

SHORT_LIST = 100
"""Below it bounded scores have a BCa interval."""

PSEUDO_PAIRS = "t with two pseudo-pairs"
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

    @property
    def awaits_flips(self) -> bool:
        """Whether its test is the t test of one seed, which sign flips replace."""
        effect = self.effect
        return effect.n_seeds == 1 and effect.n_clusters > 1 and effect.test == T_OVER_ITEMS


def untestable(pair: Pair | None, metric: Metric) -> str | None:
    """Why nothing can be compared, in words; None if it can."""
    if pair is None or not pair.items.any():
        return NO_ITEMS
    if not (pair.a.finite and pair.b.finite):
        return NOT_FINITE
    if metric.kind == RATIO and not (_has_tokens(pair.a) and _has_tokens(pair.b)):
        return NO_TOKENS
    return None


def compare(
    pair: Pair, metric: Metric, scores: TaskScores, confidence: float, name: str
) -> Comparison:
    """The difference of a testable pair; random draws are seeded by the hash of `name`.

    With one seed the p-value is that of McNemar's mid-p, or of the t test until
    `with_shared_flips` replaces it.
    """
    grouping = group_items(scores, pair)
    a, b = pair.a.broadcast(len(pair.seeds)), pair.b.broadcast(len(pair.seeds))
    if metric.kind == RATIO:
        effect = ratio_effect(
            *(a.values, b.values, a.weights, b.weights),
            clusters=grouping.clusters,
            folds=grouping.folds,
            confidence=confidence,
            resamples=0,
        )
        influence = a.influence(True) - b.influence(True)
        return Comparison(effect, influence, pair.seeds, grouping, None)
    diff = a.values - b.values
    counts = _discordant(a.values, b.values) if metric.kind == BINARY else None
    if counts is not None and len(pair.seeds) == 1 and grouping.clusters is None:
        return Comparison(
            _paired_binary(diff, counts, confidence), diff, pair.seeds, grouping, counts
        )
    effect = crossed_effect(diff, grouping.clusters, grouping.folds, confidence, resamples=0)
    if metric.kind == BINARY and np.count_nonzero(diff.any(axis=1)) < FEW_DISCORDANT:
        effect = _with_pseudo_pairs(effect)
    if metric.kind == BOUNDED and len(pair.seeds) == 1 and grouping.clusters is None:
        effect = _with_bca(effect, diff[:, 0], seed_of(name))
    return Comparison(effect, diff, pair.seeds, grouping, counts)


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


def with_shared_flips(found: Sequence[Comparison | None], name: str) -> list[Comparison | None]:
    """The comparisons of one table, those with one seed and no McNemar test by sign flips.

    They have the same items, so they share the signs, which are seeded by the hash of `name`.
    """
    places = [i for i, comparison in enumerate(found) if comparison and comparison.awaits_flips]
    flipped = list(found)
    if not places:
        return flipped
    waiting = [comparison for i in places if (comparison := found[i]) is not None]
    p_values = sign_flip_p_values(
        np.column_stack([comparison.values[:, 0] for comparison in waiting]),
        waiting[0].labels,
        RESAMPLES,
        seed_of(name),
    )
    for i, comparison, p in zip(places, waiting, p_values, strict=True):
        effect = comparison.effect
        # pseudo-pairs widen the t test, which then has a say of its own
        p_value = max(float(p), effect.p_value) if effect.interval == PSEUDO_PAIRS else float(p)
        flipped[i] = replace(comparison, effect=with_sign_flip(effect, p_value, RESAMPLES))
    return flipped


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


def _paired_binary(diff: Floats, counts: tuple[float, float], confidence: float) -> Effect:
    """One run of binary scores: McNemar's mid-p, and Bonett-Price where little is discordant."""
    effect = crossed_effect(diff, confidence=confidence)
    b, c, n = int(counts[0]), int(counts[1]), len(diff)
    p_value = mcnemar_midp(b, c)
    if n >= FEW_ITEMS and b + c >= FEW_DISCORDANT:
        return replace(effect, p_value=p_value, p_robust=p_value, test="McNemar mid-p")
    _, low, high = paired_proportion_ci(b, c, n, confidence=confidence)
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    variance = (first + second - (first - second) ** 2) / (n + 2)
    return replace(
        effect,
        se=math.sqrt(variance),
        df=max(n - 1.0, 1.0),
        var_item=n * variance,
        low=low,
        high=high,
        p_value=p_value,
        p_robust=p_value,
        test="McNemar mid-p",
        interval="Bonett-Price",
    )


def _with_pseudo_pairs(effect: Effect) -> Effect:
    """Bonett and Price's idea for several seeds: one more pair for either side, in every seed.

    Where hardly an item differs, the variance that is seen is an accident; without this, no
    difference at all on twenty items would count as proof that there is none.
    """
    if math.isinf(effect.se):
        return effect
    added = 2.0 / (effect.n_items + 2) ** 2
    se = math.sqrt(effect.se**2 + added)
    half = t_quantile((1 + effect.confidence) / 2, effect.df) * se
    p_value = min(1.0, 2 * t_tail(abs(effect.estimate) / se, effect.df))
    return replace(
        effect,
        se=se,
        var_item=effect.var_item + effect.n_items * added,
        low=max(effect.estimate - half, -1.0),
        high=min(effect.estimate + half, 1.0),
        p_value=max(p_value, effect.p_value),
        p_robust=max(p_value, effect.p_robust),
        interval=PSEUDO_PAIRS,
    )


def _with_bca(effect: Effect, column: Floats, seed: int) -> Effect:
    if not 1 < effect.n_items < SHORT_LIST or effect.se == 0.0:
        return effect
    low, high = bca_interval(column, effect.confidence, seed=seed)
    return replace(effect, low=low, high=high, interval="BCa bootstrap over items")
