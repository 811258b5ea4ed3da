"""The test of a report, for arrays: what the simulations of this folder measure.

It is the code that a report runs, `compare_grouped` and `headline` of `results.analysis`: the
crossed t with its guard, McNemar's mid-p for one run of binary scores, and with several seeds the
seed-robust p-value and interval.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steereval.results.analysis.comparison import Grouping, compare_grouped
from steereval.results.analysis.headline import headline
from steereval.results.analysis.pairing import Pair, Side
from steereval.results.stats import Effect
from steereval.results.stats.effect import ONE_SEED
from steereval.results.store.manifest import BINARY, BOUNDED, RATIO, Metric

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

ACCURACY = Metric("acc", BINARY, True)
SCORE = Metric("mc2", BOUNDED, True)
FREE = Metric("score", "continuous", True)
PERPLEXITY = Metric("word_perplexity", RATIO, False)


def reported(
    values: Floats, metric: Metric, clusters: Labels | None = None, folds: Labels | None = None
) -> Effect:
    """The effect that a report shows for differences.

    Args:
        values: Differences [items, seeds]; for a ratio [3, items, seeds]: negative log-likelihoods
            of both sides, and tokens.
        metric: The kind of score.
        clusters: [items], codes.
        folds: [items], codes.

    Returns:
        Estimate, p-value and interval of the headline.
    """
    a, b, weights = _sides(values, metric)
    n, seeds = a.shape
    names = tuple(range(seeds))
    pair = Pair(Side(a, weights, names), Side(b, weights, names), np.ones(n, np.bool_), names)
    grouping = Grouping(
        clusters=clusters,
        folds=folds,
        n_clusters=n if clusters is None else int(clusters.max()) + 1,
        n_unclustered=0,
        n_folds=1 if folds is None else int(folds.max()) + 1,
    )
    return headline(compare_grouped(pair, metric, grouping, 0.95), metric).effect


def _sides(values: Floats, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Scores of both sides, and their weights."""
    if metric.kind == RATIO:
        return values[0], values[1], values[2]
    if metric.kind == BINARY:
        return np.maximum(values, 0.0), np.maximum(-values, 0.0), np.ones_like(values)
    return values, np.zeros_like(values), np.ones_like(values)


def cautions_of(effect: Effect) -> list[str]:
    """The rules that a report applies to one comparison, but for the label of one seed."""
    return [caution for caution in effect.cautions if caution != ONE_SEED]
