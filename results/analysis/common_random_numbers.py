"""Variance that common random numbers save: methods draw the same random numbers.

With several sample seeds the noise of sampling shows in how an item's scores scatter over them.
Two arms that drew independently would differ with the sum of their variances; arms that drew with
the same numbers differ with what is left of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.inputs import Source
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Draws, Setting, draws_of, paired_seeds
from steereval.results.analysis.scores import Seed, TaskScores
from steereval.results.stats import Effect, ratio_effect
from steereval.results.stats.effect import Floats, Labels
from steereval.results.store.manifest import RATIO


@dataclass(frozen=True)
class Coupling:
    """One arm and the baseline on the items, fit seeds and sample seeds that both have."""

    row: Row
    """The arm, on a model, task and metric."""
    n_items: int
    """Test items."""
    n_draws: int
    """Sample seeds."""
    removed: Effect
    """Share of the noise in the difference that the common numbers remove: 1 - Σ c_i / Σ u_i, with
    u_i = Var(a_i) + Var(b_i) and c_i = Var(a_i - b_i) over the draws; negative where they add to
    it."""
    items_saved: float
    """Of the items that independent draws would need for the same standard error, the share that
    is not needed."""


def couplings(rows: Sequence[Row], source: Source) -> Iterator[Coupling]:
    """For every arm on a primary metric that was sampled with several seeds."""
    for row in rows:
        scores = source.scores.get((row.model, row.task.name))
        if scores is None or row.is_baseline or not row.is_primary or row.metric.kind == RATIO:
            continue
        baseline = source.baseline(row.model, row.task.name)
        pair = _draws(scores, Setting(row.arm, row.strengths), baseline, row.metric.name)
        if pair is not None:
            coupling = _coupling(row, *pair)
            if coupling is not None:
                yield coupling


def _coupling(row: Row, arm: Floats, baseline: Floats, clusters: Labels) -> Coupling | None:
    """From scores [items, fit seeds, draws] of both and clusters [items]; None if no item
    scatters."""
    n_items, _, n_draws = arm.shape
    apart = (arm.var(axis=2, ddof=1) + baseline.var(axis=2, ddof=1)).mean(axis=1)
    together = (arm - baseline).var(axis=2, ddof=1).mean(axis=1)
    if n_items < 2 or not apart.any():
        return None
    spread = (arm - baseline).mean(axis=(1, 2)).var(ddof=1)
    saved = float((apart - together).mean()) / n_draws
    return Coupling(
        row,
        n_items,
        n_draws,
        ratio_effect(apart, together, apart, clusters=clusters, resamples=0),
        saved / (spread + saved) if spread + saved > 0 else 0.0,
    )


def _draws(
    scores: TaskScores, arm: Setting, baseline: Setting, metric: str
) -> tuple[Floats, Floats, Labels] | None:
    """Scores [test items, fit seeds, draws] of both where both have them, and the items' clusters;
    None without several sample seeds."""
    ours, theirs = draws_of(scores, arm, metric), draws_of(scores, baseline, metric)
    pairs = [(a, b) for _, a, b in paired_seeds(ours, theirs)]
    shared = [set(ours[a]) & set(theirs[b]) for a, b in pairs]
    draws = sorted(set.intersection(*shared)) if shared else []
    first = [draw for draw in draws if draw[1] == draws[0][1]]  # under one choice of examples
    if len(first) < 2:
        return None

    def stacked(by_seed: Draws, seeds: Sequence[Seed]) -> Floats:
        return np.stack(
            [np.stack([by_seed[seed][draw].values for draw in first], axis=-1) for seed in seeds],
            axis=1,
        )

    both = stacked(ours, [a for a, _ in pairs]), stacked(theirs, [b for _, b in pairs])
    there = scores.is_test & np.isfinite(both[0] + both[1]).all(axis=(1, 2))
    return both[0][there], both[1][there], scores.clusters[there]
