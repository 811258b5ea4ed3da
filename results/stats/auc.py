"""The area under the ROC curve, with an uncertainty over items, clusters and seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.crossed import crossed_effect
from steereval.results.stats.effect import Effect, Floats


def auc_effect(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Effect:
    """P(score of a positive > score of a negative) + P(equal)/2, 0.5 where scores say nothing.

    `scores` [items, seeds] or [items], `labels` [items], True for positives, `clusters` [items].
    The crossed estimator of `auc_influence`: without clusters and with one seed its variance is
    that of DeLong, DeLong & Clarke-Pearson (1988) but for n/(n - 1) in place of n+/(n+ - 1) and
    n-/(n- - 1); with clusters Obuchowski's (1997) by the jackknife. Labels of one class are an
    InputError.
    """
    values = auc_influence(checks.items_by_seeds("scores", scores), np.asarray(labels, np.bool_))
    return crossed_effect(values, clusters, confidence=confidence, resamples=0)


def auc_influence(scores: Floats, labels: npt.NDArray[np.bool_]) -> Floats:
    """[items, seeds]: A + n/n± (V - A), whose mean over items is the AUC A of each seed.

    `scores` [items, seeds], `labels` [items]. V is DeLong's structural component: for a positive
    the share of negatives that score less, for a negative the share of positives that score more,
    ties counted one half.
    """
    n, positive = len(labels), int(np.count_nonzero(labels))
    if positive in (0, n):
        raise InputError(
            f"{positive} of {n} items are positive", "An AUC needs items of both classes."
        )
    influence = np.empty_like(scores)
    for column, values in enumerate(scores.T):
        above = _share_below(values[labels], values[~labels])
        below = 1.0 - _share_below(values[~labels], values[labels])
        area = float(above.mean())
        influence[labels, column] = area + n / positive * (above - area)
        influence[~labels, column] = area + n / (n - positive) * (below - area)
    return influence


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each of `values` the share of `others` that is less, ties counted one half."""
    ordered = np.sort(others)
    less = np.searchsorted(ordered, values, side="left")
    not_more = np.searchsorted(ordered, values, side="right")
    return np.asarray((less + not_more) / (2 * len(ordered)), dtype=np.float64)
