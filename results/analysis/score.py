"""The mean score of one setting by itself, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.pairing import Side
from steereval.results.analysis.scores import TaskScores
from steereval.results.stats import Guard, crossed_effect, proportion_interval
from steereval.results.stats.effect import Floats, Labels
from steereval.results.store.manifest import BINARY, RATIO, Metric


@dataclass(frozen=True)
class Score:
    """A mean over items × seeds (for a ratio: the exponential, a perplexity)."""

    mean: float
    """In the metric's own unit; it may be infinite."""

    se: float | None
    """Its standard error; None where it cannot be estimated."""

    low: float | None
    """Lower end of the interval."""

    high: float | None
    """Upper end of the interval."""

    n_items: int
    """Number of test items."""

    n_seeds: int
    """Number of fit seeds."""

    interval: str
    """The kind of interval, in words."""


def score_of(side: Side, metric: Metric, scores: TaskScores, confidence: float) -> Score | None:
    """The score of `side` over the test items that every arm has; None if there are none."""
    items = side.measured & scores.tested(metric.name)
    if not items.any():
        return None
    taken = side.take(items)
    ratio = metric.kind == RATIO
    if ratio and not bool(np.all(taken.weights.sum(axis=0) > 0)):
        return None
    if not taken.finite:
        mean = float(np.mean(taken.values))
        return Score(mean, None, None, None, len(taken.values), len(side.seeds), "none: infinite")
    labels = scores.clusters[items]
    clusters = labels if len(np.unique(labels)) < len(labels) else None
    values = taken.influence(ratio)
    plain = _estimate(values, metric, clusters, confidence)
    return _exponential(plain) if ratio else plain


def _estimate(values: Floats, metric: Metric, clusters: Labels | None, confidence: float) -> Score:
    n, seeds = values.shape
    guard = Guard(0.0, 1.0, metric.kind == BINARY) if metric.in_points else Guard()
    effect = crossed_effect(values, clusters, confidence=confidence, guard=guard)
    low, high, interval = effect.low, effect.high, "t"
    if metric.kind == BINARY and _is_one_run(values) and clusters is None:
        low, high = proportion_interval(int(values[:, 0].sum()), n, confidence)
        interval = "Wilson or Clopper-Pearson"
    se = effect.se if math.isfinite(effect.se) else None
    return Score(effect.estimate, se, low, high, n, seeds, interval)


def _is_one_run(values: Floats) -> bool:
    """Whether all seeds give the same answers of 0 and 1, so they hold what one run holds."""
    same = bool(np.all(values == values[:, :1]))
    return same and bool(np.isin(values, (0.0, 1.0)).all())


def _exponential(log: Score) -> Score:
    """From the log scale to the perplexity's; the standard error by the delta method."""
    with np.errstate(over="ignore"):
        mean = float(np.exp(log.mean))
        ends = [None if x is None else float(np.exp(x)) for x in (log.low, log.high)]
    se = None if log.se is None or math.isinf(mean) else mean * log.se
    return Score(mean, se, ends[0], ends[1], log.n_items, log.n_seeds, log.interval)
