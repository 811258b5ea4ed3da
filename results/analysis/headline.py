"""A comparison as it carries a claim: by a test that does not trust few seeds that agree."""

from __future__ import annotations

import math
from dataclasses import replace

from steereval.results.analysis.comparison import Comparison, guard_of
from steereval.results.stats import with_seed_robust
from steereval.results.store.manifest import Metric


def headline(comparison: Comparison, metric: Metric) -> Comparison:
    """`comparison` with the p-value and the interval by which a report claims something.

    The crossed t holds its size at 5 % and not far below, where families of tests look: three fits
    that agree by chance make its tail too light. So every p-value that is adjusted, and the
    interval, is seed-robust; with one seed both stay as they are. A difference of scores
    in points does not leave [-1, 1].
    """
    grouping = comparison.grouping
    effect = with_seed_robust(
        comparison.effect,
        comparison.values,
        grouping.clusters,
        grouping.folds,
        guard_of(metric),
    )
    if metric.in_points and math.isfinite(effect.se):
        effect = replace(effect, low=max(effect.low, -1.0), high=min(effect.high, 1.0))
    return replace(comparison, effect=effect)
